import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.unit.assurance.builders import case_of, road
from tests.unit.response.builders import NOW, device
from thingward.adapters.signer.ed25519_file import Ed25519FileSigner
from thingward.assurance import verify_bundle
from thingward.assurance.bundle import BundleRequest, Seal, build_bundle, select_entries
from thingward.assurance.ledger import LedgerBroken
from thingward.assurance.service import verifier_source
from thingward.model.errors import NotFound

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return Ed25519FileSigner(tmp_path_factory.mktemp("keys") / "signing.pem")


@pytest.fixture(scope="module")
def seal(signer):
    return Seal(signer.sign, signer.public_pem(), signer.key_id())


@pytest.fixture
def bundle(seal, tmp_path):
    links, _, _ = road()
    path = tmp_path / "bundle.zip"
    path.write_bytes(made(seal, links, "case", case_of(links, "d-5")))
    return path


def made(seal, links, scope, target="", **fields):
    request = BundleRequest(tenant="default", scope=scope, target=target, now=NOW, **fields)
    return build_bundle(request, links, [device(5)], seal, verifier_source())


def files_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def verdict(path, **more):
    with pytest.raises(verify_bundle.Broken) as error:
        verify_bundle.verify_bundle(path, **more)
    return str(error.value)


def test_a_bundle_is_valid_and_says_what_it_holds(bundle, seal):
    text = verify_bundle.verify_bundle(bundle, expected_key_id=seal.key_id, expected_key=seal.public_pem)
    assert "without a gap" in text
    assert "1 finding" in text
    assert seal.key_id in text
    assert set(files_of(bundle)) == {
        "README.txt", "key.pem", "ledger.ndjson", "manifest.json", "manifest.sig", "records.ndjson", "verify_bundle.py",
    }  # fmt: skip


def test_the_same_arguments_give_the_same_bytes(seal):
    links, _, _ = road()
    assert made(seal, links, "tenant") == made(seal, links, "tenant")


def test_a_case_shows_its_own_steps_and_hides_the_others(bundle):
    lines = [json.loads(line) for line in files_of(bundle)["ledger.ndjson"].splitlines()]
    shown = {(line["kind"], json.loads(line["body"]).get("device", "")) for line in lines if "body" in line}
    assert ("finding", "d-5") in shown
    assert ("action", "d-5") in shown
    assert {kind for kind, _ in shown} >= {"finding", "case", "action", "outcome", "rule"}
    assert not any(dev == "d-6" for _, dev in shown)
    assert b"d-6" not in files_of(bundle)["ledger.ndjson"]


def test_a_persons_request_comes_with_its_audit_entry(seal):
    links, _, _ = road()
    case = case_of(links, "d-6")
    chosen = select_entries(links, "case", case)
    kinds = {link.kind: link for link in links if link.sequence in chosen}
    assert kinds["audit"].record == "a-1"
    assert "rule" not in kinds
    assert select_entries(links, "device", "d-6") == chosen
    assert select_entries(links, "tenant", "") == {link.sequence for link in links}


@pytest.mark.parametrize("scope", ["case", "device"])
def test_nothing_known_is_not_found(seal, scope):
    links, _, _ = road()
    with pytest.raises(NotFound):
        made(seal, links, scope, "nobody")


def test_a_broken_ledger_is_not_signed(seal):
    links, _, _ = road()
    with pytest.raises(LedgerBroken):
        made(seal, [*links[:2], *links[3:]], "tenant")
    with pytest.raises(LedgerBroken, match="another tenant"):
        made(seal, [msgspec.structs.replace(links[0], tenant="other"), *links[1:]], "tenant")


def test_an_empty_ledger_makes_an_empty_bundle(seal, tmp_path):
    path = tmp_path / "empty.zip"
    path.write_bytes(made(seal, [], "tenant"))
    assert "no records" in verify_bundle.verify_bundle(path)


@pytest.mark.parametrize("name", ["README.txt", "key.pem", "ledger.ndjson", "records.ndjson", "verify_bundle.py"])
def test_every_changed_file_is_named(bundle, name):
    files = files_of(bundle)
    write(bundle, {**files, name: files[name][:-1] + b"#"})
    assert name in verdict(bundle)


@pytest.mark.parametrize("name", ["README.txt", "ledger.ndjson", "manifest.json", "manifest.sig", "key.pem"])
def test_every_missing_file_is_named(bundle, name):
    files = files_of(bundle)
    files.pop(name)
    write(bundle, files)
    assert name in verdict(bundle)


def test_added_and_doubled_files_are_named(bundle):
    files = files_of(bundle)
    write(bundle, {**files, "extra.txt": b"x"})
    assert "extra.txt" in verdict(bundle)
    write(bundle, files)
    with zipfile.ZipFile(bundle, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("README.txt", b"again")
    assert "two files" in verdict(bundle)


def test_a_changed_manifest_is_not_signed(bundle):
    files = files_of(bundle)
    write(bundle, {**files, "manifest.json": files["manifest.json"].replace(b'"tenant": "default"', b'"tenant": "x"')})
    assert "signature" in verdict(bundle)
    write(bundle, {**files, "manifest.sig": b"AAAA\n"})
    assert "signature" in verdict(bundle)
    write(bundle, {**files, "manifest.sig": b"\xff\xfe"})
    assert "base64" in verdict(bundle)


def forge(files, ledger, **chain):
    """Sign a changed ledger with another key, as a forger would."""
    key = Ed25519FileSigner.__new__(Ed25519FileSigner)
    key._key = Ed25519PrivateKey.generate()
    manifest = json.loads(files["manifest.json"])
    files = {**files, "ledger.ndjson": ledger, "key.pem": key.public_pem()}
    manifest["key_id"] = key.key_id()
    manifest["chain"].update(chain)
    for name in ("ledger.ndjson", "key.pem"):
        manifest["files"][name]["sha256"] = verify_bundle.sha256(files[name])
    files["manifest.json"] = json.dumps(manifest).encode()
    import base64

    files["manifest.sig"] = base64.b64encode(key.sign(files["manifest.json"]))
    return files


def test_a_forgers_own_key_is_seen_by_its_id(bundle, seal):
    files = files_of(bundle)
    write(bundle, forge(files, files["ledger.ndjson"]))
    verify_bundle.verify_bundle(bundle)
    assert "not" in verdict(bundle, expected_key_id=seal.key_id)
    assert "not by the key" in verdict(bundle, expected_key=seal.public_pem)


@pytest.mark.parametrize(
    ("spoil", "chain", "text"),
    [
        (lambda lines: lines[:1] + lines[2:], {}, "is missing"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], {}, "is missing"),
        (lambda lines: [line.replace(b"because", b"perhaps") for line in lines], {}, "was changed"),
        (lambda lines: [lines[0].replace(b'"kind": "', b'"kind": "x'), *lines[1:]], {}, "was changed"),
        (lambda lines: lines[:-1], {}, "links"),
        (lambda lines: [b"nonsense", *lines[1:]], {}, "cannot be read"),
        (lambda lines: [b"[]", *lines[1:]], {}, "cannot be read"),
        (lambda lines: lines, {"in_scope": 99}, "left out"),
        (lambda lines: lines, {"head": "0" * 64}, "last head"),
        (lambda lines: lines, {"last": 99}, "ends at"),
        (lambda lines: lines, {"previous": "1" * 64}, "claims to follow"),
    ],
)
def test_a_ledger_that_does_not_hold_together_is_named(bundle, spoil, chain, text):
    files = files_of(bundle)
    lines = spoil(files["ledger.ndjson"].splitlines())
    write(bundle, forge(files, b"\n".join(lines) + b"\n", **chain))
    assert text in verdict(bundle)


def test_a_body_that_was_taken_out_is_missed(bundle):
    files = files_of(bundle)
    lines = [json.loads(line) for line in files["ledger.ndjson"].splitlines()]
    for line in lines:
        line.pop("body", None)
    write(bundle, forge(files, b"\n".join(json.dumps(line).encode() for line in lines)))
    assert "left out" in verdict(bundle)


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 50])
def test_what_is_no_bundle(tmp_path, data):
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    assert "not a readable zip" in verdict(path)
    assert "not a readable zip" in verdict(tmp_path / "missing.zip")


@pytest.mark.parametrize("manifest", [b"", b"[]", b"{}", b'{"files": {}, "format": "other", "chain": {}}'])
def test_a_manifest_that_cannot_be_read(bundle, manifest):
    write(bundle, {**files_of(bundle), "manifest.json": manifest})
    assert verdict(bundle)


def run(bundle, *arguments, **environment):
    command = [sys.executable, "-I", str(ROOT / "scripts" / "verify_bundle.py"), str(bundle), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_the_script_runs_alone(bundle, seal):
    done = run(bundle, "--key-id", seal.key_id)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "OK")
    files = files_of(bundle)
    write(bundle, {**files, "README.txt": b"x"})
    done = run(bundle)
    assert done.returncode == 1
    assert done.stdout.startswith("NOT VALID: README.txt was changed")
    assert done.stderr == ""


def test_the_script_does_without_cryptography(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    verify_bundle.verify_bundle(bundle)
    files = files_of(bundle)
    write(bundle, {**files, "manifest.json": files["manifest.json"] + b" "})
    assert "openssl" in verdict(bundle)
    monkeypatch.setenv("PATH", "")
    assert "neither" in verdict(bundle)


def test_the_packaged_script_is_the_one_in_scripts():
    assert (ROOT / "scripts" / "verify_bundle.py").read_bytes() == verifier_source()


def test_the_bundle_carries_its_verifier(bundle):
    assert files_of(bundle)["verify_bundle.py"] == verifier_source()
    assert seal_free(files_of(bundle)["README.txt"])


def seal_free(text):
    """No private key, whatever else."""
    return b"PRIVATE" not in text


def test_zip_time_is_that_of_the_bundle(bundle):
    info = zipfile.ZipFile(io.BytesIO(bundle.read_bytes())).infolist()[0]
    assert info.date_time == (2023, 11, 14, 22, 13, 20)
