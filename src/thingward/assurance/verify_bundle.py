#!/usr/bin/env python3
"""Check an evidence bundle of thingward, offline: python3 verify_bundle.py BUNDLE.zip [--key-id ID | --key FILE]

It needs Python 3.8 or newer, and either the package `cryptography` or the program `openssl` (3.0 or newer).
It prints OK and what the bundle holds, or exactly what is wrong, and then ends with status 1.

Checked are: that every file is the one which the signed manifest names; that the manifest was signed by the key in
the bundle; that the links of the ledger follow each other without a gap; and that every record in it is the one that
its link was made of. Whose key it is the bundle cannot say: compare the key id with the one that the platform names when
it makes a bundle, or give it with --key-id. Take this script from a place you trust, not from the bundle.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

FORMAT = "thingward-evidence/1"
MAX_BYTES = 4 << 30
UNLISTED = {"manifest.json", "manifest.sig"}
GENESIS = "0" * 64


class Broken(Exception):
    """The bundle does not prove what it says; the text says why."""


def sha256(data: bytes) -> str:
    """Digest bytes as hexadecimal text."""
    return hashlib.sha256(data).hexdigest()


def demand(condition: bool, text: str) -> None:
    """Raise Broken unless the condition holds."""
    if not condition:
        raise Broken(text)


def read_files(path: Path) -> dict[str, bytes]:
    """Read all members of the archive; name to bytes."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist()]
            demand(len(names) == len(set(names)), "the archive holds two files of one name")
            demand(sum(info.file_size for info in archive.infolist()) <= MAX_BYTES, "the archive is too large")
            return {name: archive.read(name) for name in names}
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise Broken(f"{path} is not a readable zip file: {error}") from error


def read_manifest(files: dict[str, bytes]) -> dict[str, Any]:
    """Read the manifest and compare every file with it."""
    demand(set(files) >= UNLISTED, "manifest.json or manifest.sig is missing")
    try:
        manifest: dict[str, Any] = json.loads(files["manifest.json"])
        listed = {name: str(entry["sha256"]) for name, entry in manifest["files"].items()}
        is_known = manifest["format"] == FORMAT
        chain_fields = {"first", "last", "entries", "in_scope", "previous", "head"} <= set(manifest["chain"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Broken(f"manifest.json cannot be read: {error}") from error
    demand(is_known, f"this script reads {FORMAT} only")
    demand(chain_fields, "manifest.json says nothing of the chain")
    missing, extra = set(listed) - set(files), set(files) - set(listed) - UNLISTED
    demand(not missing, f"missing: {', '.join(sorted(missing))}")
    demand(not extra, f"not in the manifest: {', '.join(sorted(extra))}")
    for name, digest in sorted(listed.items()):
        demand(sha256(files[name]) == digest, f"{name} was changed: its digest is not the manifest's")
    demand({"ledger.ndjson", "key.pem"} <= set(listed), "ledger.ndjson or key.pem is not in the manifest")
    return manifest


def verify_signature(manifest: bytes, signature: str, pem: bytes) -> None:
    """Check the Ed25519 signature, by `cryptography` if it is there, else by openssl."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except ValueError as error:
        raise Broken("manifest.sig is not base64") from error
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        _verify_by_openssl(manifest, raw, pem)
        return
    try:
        key = load_pem_public_key(pem)
    except ValueError as error:
        raise Broken(f"key.pem is no public key: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Broken("key.pem is not an Ed25519 key")
    try:
        key.verify(raw, manifest)
    except InvalidSignature as error:
        raise Broken("the signature of manifest.json is wrong") from error


def _verify_by_openssl(manifest: bytes, signature: bytes, pem: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, data in (("manifest", manifest), ("signature", signature), ("key", pem)):
            (place / name).write_bytes(data)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(place / "key"), "-rawin"]
        command += ["-in", str(place / "manifest"), "-sigfile", str(place / "signature")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Broken("neither the package `cryptography` nor openssl is here to check the signature") from error
    demand(done.returncode == 0, f"the signature of manifest.json is wrong (openssl: {done.stdout.strip()})")


def key_id(pem: bytes) -> str:
    """Give the first 16 hexadecimal digits of the SHA-256 of the key's DER form."""
    body = b"".join(line for line in pem.splitlines() if line and not line.startswith(b"-----"))
    try:
        return sha256(base64.b64decode(body, validate=True))[:16]
    except ValueError as error:
        raise Broken("key.pem is not a PEM file") from error


def verify_ledger(data: bytes, chain: dict[str, Any]) -> dict[str, int]:
    """Check every link; gives how many records of each kind are in the bundle."""
    previous, sequence, count = str(chain["previous"]), int(chain["first"]) - 1, 0
    kinds: dict[str, int] = {}
    demand(chain["first"] != 1 or previous == GENESIS, "the ledger's first link claims to follow another one")
    for line in data.splitlines():
        try:
            entry = json.loads(line)
            fields = [str(entry["sequence"]), entry["time"], entry["kind"], entry["record"], entry["digest"]]
            number, head, before = entry["sequence"], entry["head"], entry["previous"]
            body = entry["body"].encode("utf-8", "surrogatepass") if "body" in entry else None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Broken(f"line {count + 1} of the ledger cannot be read: {error}") from error
        demand(number == sequence + 1, f"link {sequence + 1} is missing: {number} comes after {sequence}")
        demand(before == previous, f"link {number} does not follow the one before it")
        expected = sha256(json.dumps([previous, *fields], separators=(",", ":")).encode("ascii"))
        demand(head == expected, f"link {number} was changed: its head is not that of its content")
        if body is not None:
            demand(sha256(body) == entry["digest"], f"the {fields[2]} {fields[3]} of link {number} was changed")
            kinds[fields[2]] = kinds.get(fields[2], 0) + 1
        previous, sequence, count = head, number, count + 1
    demand(count == chain["entries"], f"the ledger has {count} links, the manifest says {chain['entries']}")
    demand(sum(kinds.values()) == chain["in_scope"], "records were left out: fewer than the manifest says")
    demand(not count or sequence == chain["last"], f"the ledger ends at link {sequence}, not {chain['last']}")
    demand(previous == chain["head"], "the ledger's last head is not the one that was signed")
    return kinds


def verify_bundle(path: Path, *, expected_key_id: str = "", expected_key: bytes = b"") -> str:
    """Check everything; gives what the bundle holds in plain lines, raises Broken otherwise."""
    files = read_files(path)
    manifest = read_manifest(files)
    pem = files["key.pem"]
    verify_signature(files["manifest.json"], files["manifest.sig"].decode("ascii", "replace").strip(), pem)
    found = key_id(pem)
    demand(manifest.get("key_id") == found, "the manifest names another key than the one in the bundle")
    demand(not expected_key_id or expected_key_id.lower() == found, f"signed by key {found}, not {expected_key_id}")
    demand(not expected_key or key_id(expected_key) == found, f"signed by key {found}, not by the key you gave")
    kinds = verify_ledger(files["ledger.ndjson"], manifest["chain"])
    chain = manifest["chain"]
    held = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "no records"
    checked = "" if expected_key or expected_key_id else " (compare it with the platform's own)"
    return (
        f"{manifest.get('scope')} {manifest.get('target') or manifest.get('tenant')} of {manifest.get('created')}\n"
        f"links {chain['first']} to {chain['last']} of the ledger, without a gap: {held}\n"
        f"signed by key {found}{checked}"
    )


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Check an evidence bundle of thingward, offline.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--key-id", default="", help="the key that must have signed it: 16 hexadecimal digits")
    parser.add_argument("--key", type=Path, help="the same, as a PEM file")
    options = parser.parse_args()
    try:
        key = options.key.read_bytes() if options.key else b""
        text = verify_bundle(options.bundle, expected_key_id=options.key_id, expected_key=key)
    except (Broken, OSError) as error:
        sys.stdout.write(f"NOT VALID: {error}\n")
        return 1
    sys.stdout.write(f"OK\n{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
