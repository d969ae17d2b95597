"""What the registrar does with a request: core decides, the authority signs, the log keeps, core is told."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from thingward.apps.registrar.issued import IssuedLog
from thingward.identity.credentials import secret_digest
from thingward.identity.enrolment import BACKDATE_S, RENEW_SHARE
from thingward.identity.requests import ParsedRequest
from thingward.model.certificate import REGISTRAR, Certificate, Enrolment, RequestSummary, Revoked, Template
from thingward.model.codec import decode_batch
from thingward.model.errors import InvalidInput, ThingwardError, Unavailable
from thingward.model.ids import Tenant, Uid
from thingward.model.intent import Answer, Intent, IntentBody, NoteCertificates, RequestCertificate
from thingward.model.principal import Role
from thingward.ports.authority import Authority
from thingward.ports.control_store import ControlStore

CRL_S: Final = 86_400.0
OCSP_S: Final = 900.0
CRL_CACHED_S: Final = 600.0
PAGE: Final = 100

#: Hands an intent to core; raises Unavailable while it is away.
Ask = Callable[[Intent], Awaitable[Answer]]
#: Opens the control store for reading; raises Unavailable until there is one.
OpenControl = Callable[[], ControlStore]

_log = structlog.get_logger("registrar")


class Refused(ThingwardError):
    """Core said no; code and status are those that it gave."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.message)
        self.code, self.status, self.retryable = answer.code, answer.status, answer.retryable


class Office:
    """The registrar without its sockets.

    Args:
        url: where CRL and OCSP are, written into certificates.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        authority: Authority,
        issued: IssuedLog,
        ask: Ask,
        open_control: OpenControl,
        *,
        tenant: Tenant,
        url: str,
        clock: Callable[[], float],
    ) -> None:
        self.authority = authority
        self._issued = issued
        self._ask = ask
        self._open_control = open_control
        self._control: ControlStore | None = None
        self._tenant = tenant
        self._url = url
        self._clock = clock
        self._telling = asyncio.Lock()
        self._crl: tuple[float, bytes] = (0.0, b"")

    async def enrol(self, request: ParsedRequest, *, token: str = "", certificate: str = "", address: str) -> bytes:
        """Give the certificate (DER) for a request, empty while a person has to decide.

        Args:
            token: as the device sent it. certificate: serial of the client certificate, for renewal.
        Raises:
            Refused: core said no. Unavailable: core is away: nothing is issued without it.
        """
        await self.tell()
        summary = RequestSummary(
            **{name: getattr(request, name) for name in RequestSummary.__struct_fields__},
        )
        digest = secret_digest(token) if token else ""
        answer = await self._intend(
            RequestCertificate(request=summary, token=digest, certificate=certificate), address=address
        )
        enrolment = next((row for row in decode_batch(answer.records) if isinstance(row, Enrolment)), None)
        if enrolment is None:
            raise Unavailable("core answered without a decision.")
        if enrolment.state != "approved":
            return b""
        now = self._clock()
        if (held := self._issued.of_enrolment(enrolment.uid, now)) is not None and held.key == request.key:
            return x509.load_pem_x509_certificate(held.pem.encode()).public_bytes(Encoding.DER)
        issued, der = self._issue(enrolment, request.public_key, now)
        self._issued.add(issued)
        _log.info("issued", serial=issued.uid, name=issued.name, late=enrolment.is_late)
        try:
            await self.tell()
        except ThingwardError as error:
            _log.warning("core is told later", serial=issued.uid, reason=str(error))
        return der

    async def tell(self) -> None:
        """Tell core of every certificate that it does not know; raises Unavailable while it is away."""
        async with self._telling:
            while untold := self._issued.untold():
                await self._intend(NoteCertificates(certificates=untold))
                self._issued.mark_told(untold)

    def refresh(self) -> None:
        """Learn of new revocations; while the control store cannot be read what was known holds."""
        try:
            if self._control is None:
                self._control = self._open_control()
            self._read_revoked(self._control)
        except ThingwardError as error:
            _log.warning("revocations are those last known", reason=str(error))

    def crl(self) -> bytes:
        """Give the revocation list as DER."""
        self.refresh()
        now = self._clock()
        made, crl = self._crl
        if not 0 <= now - made < CRL_CACHED_S:
            crl = self.authority.revocation_list(self._issued.revocations(now), int(now * 1000), now, now + CRL_S)
            self._crl = (now, crl)
        return crl

    def ocsp(self, request: bytes) -> bytes:
        """Answer an OCSP request."""
        self.refresh()
        now = self._clock()
        serial = self.authority.asked_serial(request)
        states: dict[str, Revoked | None] = {}
        if serial and (line := self._issued.revocation(serial)) is not None:
            states[serial] = line
        elif serial and self._is_known(serial):
            states[serial] = None
        return self.authority.status(request, states, now, now + OCSP_S)

    def is_revoked(self, serial: str) -> bool:
        """Tell whether a certificate was revoked."""
        self.refresh()
        return self._issued.revocation(serial) is not None

    def close(self) -> None:
        """Release the log and the control store."""
        self._issued.close()
        if self._control is not None:
            self._control.close()

    def _read_revoked(self, control: ControlStore) -> None:
        cursor = ""
        while True:
            page = control.page(self._tenant, Certificate, where={"state": "revoked"}, cursor=cursor, limit=PAGE)
            is_new = bool(page.items) and self._issued.revoke(page.items)
            if is_new:
                self._crl = (0.0, b"")
            cursor = page.cursor
            if not is_new or not cursor:
                return

    def _is_known(self, serial: str) -> bool:
        if self._issued.is_issued(serial):
            return True
        try:
            return self._control is not None and self._control.get(self._tenant, Certificate, serial) is not None
        except ThingwardError:
            return False

    def _issue(self, enrolment: Enrolment, public_key: bytes, now: float) -> tuple[Certificate, bytes]:
        template = Template(
            use="device",
            name=enrolment.name,
            public_key=public_key,
            not_before=now - BACKDATE_S,
            not_after=now + enrolment.lifetime_s,
            serial=enrolment.serial,
            uris=(enrolment.identity,),
            dns_names=(enrolment.name,) if "_" not in enrolment.name else (),
            crl_url=f"{self._url}/crl",
            ocsp_url=f"{self._url}/ocsp",
        )
        der = self.authority.issue(template)
        made = x509.load_der_x509_certificate(der)
        end = made.not_valid_after_utc.timestamp()
        record = Certificate(
            uid=Uid(f"{made.serial_number:x}"),
            tenant=self._tenant,
            time=now,
            source="registrar",
            parents=(enrolment.uid,),
            name=enrolment.name,
            identity=enrolment.identity,
            key=enrolment.key,
            not_before=made.not_valid_before_utc.timestamp(),
            not_after=end,
            renew_after=now + (end - now) * RENEW_SHARE,
            pem=made.public_bytes(Encoding.PEM).decode(),
            device=enrolment.device,
            kind=enrolment.kind,
            enrolment=enrolment.uid,
            replaces=enrolment.replaces,
        )
        return record, der

    async def _intend(self, body: IntentBody, address: str = "") -> Answer:
        intent = Intent(
            uid=secrets.token_hex(16),
            tenant=self._tenant,
            principal=REGISTRAR,
            role=Role.ADMIN,
            time=self._clock(),
            address=address,
            body=body,
        )
        answer = await self._ask(intent)
        if not answer.ok:
            raise Refused(answer)
        return answer


def device_serial(der: bytes) -> str:
    """Give the serial of a client certificate, hexadecimal; raises InvalidInput if it cannot be read."""
    try:
        return f"{x509.load_der_x509_certificate(der).serial_number:x}"
    except (ValueError, x509.InvalidVersion) as error:
        raise InvalidInput("the client certificate cannot be read.") from error
