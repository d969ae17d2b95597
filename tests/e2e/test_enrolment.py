"""Enrolment over real sockets, with curl, openssl and strongSwan as devices."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates

from tests.e2e.platform_processes import Processes, Sender
from tests.unit.identity.csrs import csr
from thingward.model.certificate import Certificate, Enrolment
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.intent import CreateClaims, NewClaim, RevokeCertificate
from thingward.model.principal import AuditEntry
from thingward.runtime.compose import open_control_reader
from thingward.runtime.local_access import read_local_access

pytestmark = pytest.mark.servers

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 90.0


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def wait_for(condition, what: str = "") -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Door:
    """Core and registrar as processes, and devices in front of them."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.est, self.status = free_ports(2)
        self.folder = folder
        given = {"PORT": str(self.est), "STATUS_PORT": str(self.status), **settings}
        (folder / "home").mkdir(mode=0o700)
        environment = {f"THINGWARD_REGISTRAR__{name}": value for name, value in given.items()}
        self.processes = Processes(folder / "home", **environment)
        self.ca = folder / "ca.pem"

    def start(self, *names: str) -> None:
        self.processes.start(*names)
        if "registrar" in names:
            wait_for(lambda: answers(self.est) and answers(self.status), "the registrar listens")
            self.ca.write_bytes(run("curl", "-sSf", f"http://127.0.0.1:{self.status}/ca.pem").stdout)

    def ask(self, body):
        async def once():
            sender = Sender(self.processes, f"tester-{time.monotonic_ns()}")
            await sender.link.start()
            try:
                return await sender.ask_until_answered(body, os.urandom(16).hex())
            finally:
                await sender.link.close()

        answer = asyncio.run(once())
        assert answer.ok, answer.message
        return answer

    def claims(self, *names: str) -> list[str]:
        return self.ask(CreateClaims(claims=tuple(NewClaim(name=name) for name in names))).secret.split("\n")

    def post(self, operation: str, body: bytes, *options: str) -> tuple[int, bytes]:
        """Give HTTP status and body; status 0 if there was no answer."""
        url = f"https://127.0.0.1:{self.est}/.well-known/est/{operation}"
        done = run(
            "curl", "-s", "--max-time", "20", "--cacert", str(self.ca), *options, "-w", "\n%{http_code}",
            "--data-binary", "@-", url, stdin=body, check=False,
        )  # fmt: skip
        text, _, status = done.stdout.rpartition(b"\n")
        return int(status), text

    def enrol(self, request: bytes, token: str) -> tuple[int, bytes]:
        return self.post("simpleenroll", base64.b64encode(request), "-u", f"device:{token}")

    def known(self, kind=Certificate):
        control = open_control_reader(self.processes.settings)
        try:
            return control.page(DEFAULT_TENANT, kind, limit=1000).items
        finally:
            control.close()


def run(*command: str, stdin: bytes = b"", check: bool = True, **more) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=120, **more)
    assert not check or done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
    return done


def certificate_in(body: bytes) -> x509.Certificate:
    assert b"\n" not in body
    (found,) = load_der_pkcs7_certificates(base64.b64decode(body))
    return found


def key_files(folder: Path, name: str, key, certificate: x509.Certificate) -> tuple[str, ...]:
    """Write what curl needs to be this device."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = folder / f"{name}.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + pem)
    return ("--cert", str(file))


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    opened = Door(tmp_path)
    yield opened
    opened.processes.kill_all()


def test_bad_requests_get_no_certificate(door: Door) -> None:
    door.start("core", "registrar")
    (token,) = door.claims("pump-7")
    good = csr()
    broken = bytearray(good)
    broken[-1] ^= 1
    assert door.post("simpleenroll", base64.b64encode(good))[0] == 401
    assert door.post("simplereenroll", base64.b64encode(good))[0] == 401
    assert door.enrol(bytes(broken), token)[0] == 400
    assert door.post("simpleenroll", b"\x00\xff garbage", "-u", f"device:{token}")[0] == 400
    assert door.post("simpleenroll", b"x" * 100_000, "-u", f"device:{token}")[0] == 413
    assert door.enrol(good, "twc_guess")[0] == 403
    assert door.enrol(csr("core"), token) == (403, b"the request asks for the name 'core', which is not its own.\n")
    assert not door.known()
    assert door.enrol(good, token)[0] == 200
    assert door.enrol(csr(key=ec.generate_private_key(ec.SECP256R1())), token)[0] == 403
    assert len(door.known()) == 1


def test_another_cas_certificate_ends_the_handshake(door: Door, tmp_path: Path) -> None:
    door.start("core", "registrar")
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-subj", "/CN=pump-7",
        "-keyout", str(tmp_path / "f.key"), "-out", str(tmp_path / "f.pem"),
    )  # fmt: skip
    foreign = ("--cert", str(tmp_path / "f.pem"), "--key", str(tmp_path / "f.key"))
    assert door.post("simplereenroll", base64.b64encode(csr()), *foreign)[0] == 0


def test_a_revoked_certificate_renews_nothing(door: Door, tmp_path: Path) -> None:
    door.start("core", "registrar")
    (token,) = door.claims("pump-7")
    key = ec.generate_private_key(ec.SECP256R1())
    made = certificate_in(door.enrol(csr(key=key), token)[1])
    device = key_files(tmp_path, "device", key, made)
    door.ask(RevokeCertificate(certificate=f"{made.serial_number:x}", reason="key_compromise"))
    status, said = door.post("simplereenroll", base64.b64encode(csr()), *device)
    assert (status, b"revoked" in said) == (403, True)
    crl = x509.load_der_x509_crl(run("curl", "-sSf", f"http://127.0.0.1:{door.status}/crl").stdout)
    assert crl.get_revoked_certificate_by_serial_number(made.serial_number) is not None


def test_an_expired_certificate_renews_within_the_grace(tmp_path: Path) -> None:
    day = 86_400.0
    door = Door(tmp_path, CERTIFICATE_DAYS=f"{4 / day:.9f}", GRACE_DAYS="1")
    try:
        door.start("core", "registrar")
        (token,) = door.claims("pump-7")
        key = ec.generate_private_key(ec.SECP256R1())
        made = certificate_in(door.enrol(csr(key=key), token)[1])
        device = key_files(tmp_path, "device", key, made)
        wait_for(lambda: time.time() > made.not_valid_after_utc.timestamp() + 1)
        status, body = door.post("simplereenroll", base64.b64encode(csr()), *device)
        assert status == 200, body
        late = [row for row in door.known(Enrolment) if row.is_late]
        assert [row.replaces for row in late] == [f"{made.serial_number:x}"]
        assert any("expired" in row.detail for row in door.known(AuditEntry))
        door.processes.kill_all()
        door.processes._environment["THINGWARD_REGISTRAR__GRACE_DAYS"] = "0"
        door.start("core", "registrar")
        status, said = door.post("simplereenroll", base64.b64encode(csr(key=key)), *device)
        assert (status, b"time of grace" in said) == (403, True)
    finally:
        door.processes.kill_all()


def test_a_killed_registrar_loses_no_certificate(door: Door) -> None:
    door.start("core", "registrar")
    names = [f"device-{number}" for number in range(12)]
    held: dict[str, x509.Certificate] = {}
    for number, (name, token) in enumerate(zip(names, door.claims(*names), strict=True)):
        request = csr(name, ec.generate_private_key(ec.SECP256R1()))
        url = f"https://127.0.0.1:{door.est}/.well-known/est/simpleenroll"
        asking = subprocess.Popen(
            ["curl", "-s", "--cacert", str(door.ca), "-u", f"d:{token}", "--data-binary", "@-", url],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        assert asking.stdin is not None
        asking.stdin.write(base64.b64encode(request))
        asking.stdin.close()
        time.sleep(0.01 * number)
        door.processes.kill("registrar")
        asking.wait()
        door.start("registrar")
        status, body = door.enrol(request, token)
        while status == 503:
            status, body = door.enrol(request, token)
        assert status == 200, body
        held[name] = certificate_in(body)
    wait_for(lambda: len(door.known()) >= len(names))
    known = {row.uid: row.name for row in door.known()}
    assert known == {f"{made.serial_number:x}": name for name, made in held.items()}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The whole platform as a person starts it; gives the environment for the command line and a device."""
    home = tmp_path_factory.mktemp("door") / "home"
    est, status = free_ports(2)
    environment = {
        **os.environ,
        "THINGWARD_DATA_DIR": str(home),
        "THINGWARD_ENFORCE__PATH": "off",
        "THINGWARD_REGISTRAR__ENABLED": "true",
        "THINGWARD_REGISTRAR__PORT": str(est),
        "THINGWARD_REGISTRAR__STATUS_PORT": str(status),
    }
    command = [sys.executable, "-m", "thingward.apps.supervisor", "--data-dir", str(home), "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(est) and answers(status) and read_local_access(home / "run") is not None)
        yield environment | {
            "EST": f"https://127.0.0.1:{est}/.well-known/est",
            "STATUS": f"http://127.0.0.1:{status}",
        }
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def thingward(environment: dict[str, str], *words: str) -> bytes:
    return run(sys.executable, "-m", "thingward", *words, env=environment).stdout


def test_the_pages_commands_work_as_they_stand(platform: dict[str, str], tmp_path: Path) -> None:
    page = (ROOT / "docs" / "enrolment.md").read_text(encoding="utf-8")
    where, *blocks = re.findall(r"^```sh\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert {line.partition("=")[0] for line in where.splitlines()} == {"EST", "STATUS", "NAME", "TOKEN"}
    assert len(blocks) == 4
    token = thingward(platform, "claim", "create", "pump-7", "--serial", "A1700").decode().strip()
    given = platform | {"NAME": "pump-7", "TOKEN": token}
    script = "set -euo pipefail\n" + "\n".join(blocks)
    said = run("bash", "-c", script, cwd=tmp_path, env=given).stdout.decode()
    assert said.count("device.pem: OK") == 2
    assert "device.pem: good" in said
    assert "new.pem: OK" in said
    root = Path(platform["THINGWARD_DATA_DIR"]) / "registrar" / "ca" / "root.pem"
    assert run("openssl", "x509", "-in", str(root), "-noout", "-fingerprint", "-sha256").stdout.decode() in said
    rows = msgspec.json.decode(thingward(platform, "certificate", "list", "-o", "json"))
    assert [row["name"] for row in rows] == ["pump-7", "pump-7"]
    serial = rows[0]["uid"]
    thingward(platform, "certificate", "revoke", serial, "--reason", "key_compromise")
    ocsp = run(
        "openssl", "ocsp", "-issuer", "ca-00", "-cert", "new.pem", "-url", platform["STATUS"] + "/ocsp", "-CAfile", "ca.pem",
        cwd=tmp_path,
    ).stdout  # fmt: skip
    assert b"revoked" in ocsp
    assert "twc_" not in thingward(platform, "claim", "list", "-o", "json").decode()


def test_strongswan_enrols_once_a_person_approved(platform: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("pki") is None:
        pytest.skip("no strongSwan pki on the PATH")
    (tmp_path / "devices.csv").write_text("name,serial\ncam-1,C1\ncam-2,C2\n")
    csv = thingward(platform, "claim", "create", "--csv", str(tmp_path / "devices.csv"), "--approval").decode()
    assert csv.startswith("name,token\ncam-1,twc_")
    token = csv.splitlines()[1].split(",")[1]
    run("curl", "-sSf", platform["STATUS"] + "/ca.pem", "-o", str(tmp_path / "ca.pem"))
    issuing, root = x509.load_pem_x509_certificates((tmp_path / "ca.pem").read_bytes())
    for name, certificate in (("issuing", issuing), ("root", root)):
        (tmp_path / name).write_bytes(certificate.public_bytes(Encoding.DER))
    (tmp_path / "request").write_bytes(csr("cam-1", ec.generate_private_key(ec.SECP256R1())))
    command = [
        "pki", "--est", "--in", "request", "--cacert", "root", "--cacert", "issuing", "--userpass", f"d:{token}",
        "--url", platform["EST"].removesuffix("/.well-known/est"), "--interval", "1", "--maxpolltime", "60",
    ]  # fmt: skip
    asking = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pending: list[dict[str, str]] = []

    def asked() -> bool:
        pending[:] = msgspec.json.decode(thingward(platform, "enrolment", "list", "--state", "pending", "-o", "json"))
        return bool(pending) or asking.poll() is not None

    wait_for(asked)
    assert pending, asking.communicate()[1].decode()
    thingward(platform, "enrolment", "approve", pending[0]["uid"])
    out, err = asking.communicate(timeout=90)
    assert asking.returncode == 0, err.decode()
    made = x509.load_der_x509_certificate(out)
    assert made.subject.rfc4514_string() == "2.5.4.5=C1,CN=cam-1"
