"""Evidence bundles: the part of the ledger that is about a case, a device or a tenant, signed, for any reader."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from thingward.assurance.ledger import GENESIS, LedgerBroken, digest_of, verify_chain
from thingward.model.codec import AnyRecord, encode_json
from thingward.model.errors import NotFound
from thingward.model.principal import LedgerEntry

FORMAT = "thingward-evidence/1"
Scope = Literal["case", "device", "tenant"]

README = """\
Evidence of thingward

{what}
Made {created}, signed by key {key_id}.

What is in it

  ledger.ndjson     The ledger: one line for each thing that was seen, decided or done, in order. Each line carries
                    the digest of the line before it, so nothing can be changed, taken out or put in unseen. Lines
                    about other matters are there without their content, so that the chain can be followed.
  records.ndjson    Records that the lines speak of and that are no steps themselves: devices, profiles, events.
  manifest.json     The digest of every file here, and where the ledger begins and ends.
  manifest.sig      The signature of manifest.json (Ed25519, base64).
  key.pem           The public key that it was made with.
  verify_bundle.py  The script that checks all this.

How to check it, without any network

  python3 verify_bundle.py {name} --key-id {key_id}

Take the script from a copy of thingward that you trust, and the key id from the platform itself (it names it whenever
it makes a bundle) or from whoever runs it: whoever forges a bundle can also put another script and key into it.

How to read it

Each line of ledger.ndjson has a kind: finding (something looked wrong), case (findings of one matter), approval
(a person put a profile in force), action (a command to the network), outcome (what came of it), rule, setting and
correction (what a person changed), audit (what a person asked for, with the answer). `body` is the record itself as
JSON; times are seconds since 1970-01-01 UTC.
"""


class BundleRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle is about; `now` in seconds since 1970; `name` is the file's name, for its README."""

    tenant: str
    scope: Scope
    target: str = ""
    now: float
    name: str = "BUNDLE.zip"
    version: str = ""


class Seal(msgspec.Struct, frozen=True):
    """How a bundle is signed: the function, the public key as PEM, its id."""

    sign: Callable[[bytes], bytes]
    public_pem: bytes
    key_id: str


def build_bundle(
    request: BundleRequest,
    entries: Sequence[LedgerEntry],
    records: Iterable[AnyRecord],
    seal: Seal,
    verifier: bytes,
) -> bytes:
    """Build the zip file. The same arguments give the same bytes.

    Args:
        entries: the tenant's ledger, oldest first, without gaps; the whole of it, or from some link on.
        records: devices, profiles, events and the like that the reader may want; not part of the chain.
        verifier: source of `verify_bundle.py`.

    Raises:
        LedgerBroken: the ledger itself does not hold together: nothing is signed then.
        NotFound: the ledger says nothing about the target.
    """
    verify_chain(entries)
    foreign = next((entry for entry in entries if entry.tenant != request.tenant), None)
    if foreign is not None:
        raise LedgerBroken(f"link {foreign.sequence} belongs to another tenant.")
    chosen = select_entries(entries, request.scope, request.target)
    if request.scope != "tenant":
        if not chosen:
            raise NotFound(f"the ledger says nothing about {request.scope} {request.target!r}.")
        span = [entry for entry in entries if min(chosen) <= entry.sequence <= max(chosen)]
    else:
        span = list(entries)
    created = datetime.fromtimestamp(request.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    files = {
        "README.txt": _readme(request, created, seal).encode(),
        "key.pem": seal.public_pem,
        "ledger.ndjson": b"".join(_line(entry, entry.sequence in chosen) for entry in span),
        "records.ndjson": b"".join(encode_json(record) + b"\n" for record in records),
        "verify_bundle.py": verifier,
    }
    manifest = _manifest(request, created, seal, span, len(chosen), files)
    files["manifest.json"] = manifest
    files["manifest.sig"] = base64.b64encode(seal.sign(manifest)) + b"\n"
    return _zip(files, request.now)


def _manifest(
    request: BundleRequest,
    created: str,
    seal: Seal,
    span: Sequence[LedgerEntry],
    in_scope: int,
    files: dict[str, bytes],
) -> bytes:
    chain = {
        "first": span[0].sequence if span else 1,
        "last": span[-1].sequence if span else 0,
        "entries": len(span),
        "in_scope": in_scope,
        "previous": span[0].previous if span else GENESIS,
        "head": span[-1].head if span else GENESIS,
    }
    content = {
        "format": FORMAT,
        "made_by": f"thingward {request.version}".strip(),
        "created": created,
        "tenant": request.tenant,
        "scope": request.scope,
        "target": request.target,
        "key_id": seal.key_id,
        "chain": chain,
        "files": {name: {"sha256": digest_of(data), "bytes": len(data)} for name, data in sorted(files.items())},
    }
    return json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"


def _line(entry: LedgerEntry, with_body: bool) -> bytes:
    content: dict[str, Any] = {
        "sequence": entry.sequence,
        "time": f"{entry.time:.6f}",
        "kind": entry.kind,
        "record": entry.record,
        "digest": entry.digest,
        "previous": entry.previous,
        "head": entry.head,
    }
    if with_body:
        content["body"] = entry.body
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _readme(request: BundleRequest, created: str, seal: Seal) -> str:
    about = {"case": "one case", "device": "one device", "tenant": "everything that was recorded"}[request.scope]
    what = f"About {about}{f': {request.target}' if request.target else ''}, tenant {request.tenant}."
    return README.format(what=what, created=created, key_id=seal.key_id, name=request.name)


def _zip(files: dict[str, bytes], now: float) -> bytes:
    moment = datetime.fromtimestamp(max(now, 315_532_800.0), UTC)  # zip knows no time before 1980
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            info = zipfile.ZipInfo(name, moment.timetuple()[:6])
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o755 if name.endswith(".py") else 0o644) << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def select_entries(entries: Sequence[LedgerEntry], scope: Scope, target: str) -> frozenset[int]:
    """Give the sequence numbers of the links that are about a case or a device; all of them for a tenant.

    A case comes with its findings, its actions and their outcomes, what persons asked for about them, the rules that
    acted, and the approvals of its device. A device comes with everything that names it, and its cases as above.
    """
    if scope == "tenant":
        return frozenset(entry.sequence for entry in entries)
    bodies: dict[int, Any] = {}
    for entry in entries:
        try:
            body = msgspec.json.decode(entry.body) if entry.body else {}
        except msgspec.DecodeError:
            body = {}
        bodies[entry.sequence] = body if isinstance(body, dict) else {}
    wanted = {target}
    if scope == "case":
        for entry in entries:
            if entry.record == target and entry.kind == "case":
                body = bodies[entry.sequence]
                wanted |= {*body.get("findings", ()), *body.get("actions", ())}
                device = body.get("device", "")
                wanted |= {
                    e.record
                    for e in entries
                    if device and e.kind == "approval" and _names(bodies[e.sequence], {device})
                }
    return _close(entries, bodies, wanted, scope)


_FIELDS = ("device", "target", "case", "action", "finding")


def _names(body: dict[str, Any], wanted: set[str]) -> bool:
    return any(body.get(field) in wanted for field in _FIELDS)


def _close(entries: Sequence[LedgerEntry], bodies: dict[int, Any], wanted: set[str], scope: Scope) -> frozenset[int]:
    """Follow links from what is wanted: two rounds reach outcomes of actions, and audit entries of both."""
    chosen: set[int] = set()
    causes: set[str] = set()
    for _ in range(2):
        for entry in entries:
            body = bodies[entry.sequence]
            by = str(body.get("requested_by", ""))
            parents = {parent for parent in body.get("parents", ()) if isinstance(parent, str)}
            is_cause = entry.kind in ("audit", "rule") and (entry.record in causes or not parents.isdisjoint(causes))
            if entry.record in wanted or _names(body, wanted) or is_cause:
                chosen.add(entry.sequence)
                if entry.kind == "action":
                    wanted.add(entry.record)
                    causes |= parents | {by.removeprefix("rule:")}
                elif entry.kind == "approval":
                    causes |= parents
                elif entry.kind == "case" and scope == "device":
                    wanted.add(entry.record)
    return frozenset(chosen)
