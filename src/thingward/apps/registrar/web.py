"""The registrar's faces: EST over TLS with optional client certificates, OCSP and CRL over plain HTTP."""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from thingward.apps.registrar.office import Office, device_serial
from thingward.identity.requests import ParsedRequest, read_request
from thingward.model.errors import InvalidInput, LimitExceeded, ThingwardError
from thingward.model.record import Malformed
from thingward.wire.est import (
    MAX_REQUEST_BYTES,
    decode_basic,
    decode_request,
    encode_attributes,
    encode_body,
    encode_certificates,
)

EST: Final = "/.well-known/est"
CERTIFICATES: Final = "application/pkcs7-mime; smime-type=certs-only"
#: What a device waits before it asks again, in seconds.
RETRY_S: Final = 10
MAX_AT_ONCE: Final = 64
MAX_OCSP_BYTES: Final = 4096
BODY_S: Final = 20.0
#: So many refusals of one address within the time, and it has to wait.
MAX_REFUSALS: Final = 20
REFUSALS_S: Final = 60.0
MAX_ADDRESSES: Final = 10_000
#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME: core decides about expired certificates, with its time of grace.
_NO_CHECK_TIME: Final = 0x200000

_log = structlog.get_logger("registrar")


class RefusalGuard:
    """Counts refusals by address; the oldest address is forgotten when the table is full."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._refused: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def verify_open(self, address: str) -> None:
        """Raise LimitExceeded while an address was refused too often."""
        count, first = self._refused.get(address, (0, 0.0))
        if count >= MAX_REFUSALS and 0 <= self._clock() - first < REFUSALS_S:
            raise LimitExceeded("too many refused requests from this address.", hint="Wait a minute.")

    def refused(self, address: str) -> None:
        """Count one."""
        now = self._clock()
        count, first = self._refused.pop(address, (0, now))
        if not 0 <= now - first < REFUSALS_S:
            count, first = 0, now
        self._refused[address] = (count + 1, first)
        while len(self._refused) > MAX_ADDRESSES:
            self._refused.popitem(last=False)


class Counter:
    """The desk of the registrar: takes HTTP requests, gives EST, OCSP and CRL answers."""

    def __init__(self, office: Office, clock: Callable[[], float]) -> None:
        self._office = office
        self._guard = RefusalGuard(clock)
        self._free = asyncio.Semaphore(MAX_AT_ONCE)

    def est(self) -> web.Application:
        """Give the application that is served by TLS."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[self._answer_errors])
        app.router.add_get(f"{EST}/cacerts", self.give_chain)
        app.router.add_get(f"{EST}/csrattrs", self.give_attributes)
        app.router.add_post(f"{EST}/simpleenroll", self.enrol)
        app.router.add_post(f"{EST}/simplereenroll", self.renew)
        return app

    def status(self) -> web.Application:
        """Give the application that is served by plain HTTP: everything in it is signed."""
        app = web.Application(client_max_size=MAX_OCSP_BYTES, middlewares=[self._answer_errors])
        app.router.add_get("/crl", self.give_crl)
        app.router.add_post("/ocsp", self.answer_ocsp)
        app.router.add_get("/ocsp/{question:.+}", self.answer_ocsp)
        app.router.add_get("/ca.pem", self.give_pem)
        return app

    async def give_chain(self, request: web.Request) -> web.StreamResponse:
        """Give the CA's certificates (RFC 7030 section 4.1)."""
        return _est(encode_certificates(self._office.authority.chain()), CERTIFICATES)

    async def give_attributes(self, request: web.Request) -> web.StreamResponse:
        """Say what a request should look like (RFC 7030 section 4.5)."""
        return _est(encode_attributes(), "application/csrattrs")

    async def enrol(self, request: web.Request) -> web.StreamResponse:
        """Give a certificate for a claim's token, sent as the password (RFC 7030 section 4.2.1)."""
        header = request.headers.get("Authorization", "")
        if not header:
            challenge = {"WWW-Authenticate": 'Basic realm="thingward claim"'}
            return _say(401, "send the claim's token as the password.", headers=challenge)
        credentials = decode_basic(header)
        if isinstance(credentials, Malformed):
            self._guard.refused(_address(request))
            return _say(400, credentials.reason)
        token = credentials[1]
        if not token:
            return _say(401, "the password is the claim's token.")
        return await self._issue(request, token=token)

    async def renew(self, request: web.Request) -> web.StreamResponse:
        """Give a certificate for the one that the connection was made with (RFC 7030 section 4.2.2)."""
        transport = request.transport
        tls = transport.get_extra_info("ssl_object") if transport is not None else None
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        if not der:
            return _say(401, "connect with the certificate that is to be replaced.")
        return await self._issue(request, certificate=device_serial(der))

    async def give_crl(self, request: web.Request) -> web.StreamResponse:
        """Give the revocation list."""
        return web.Response(body=self._office.crl(), content_type="application/pkix-crl")

    async def answer_ocsp(self, request: web.Request) -> web.StreamResponse:
        """Answer an OCSP request (RFC 6960), by POST or in the path of a GET."""
        if request.method == "POST":
            question = await _body(request)
        else:
            try:
                question = base64.b64decode(unquote(request.match_info["question"]), validate=True)
            except (binascii.Error, ValueError):
                question = b""
        return web.Response(body=self._office.ocsp(question), content_type="application/ocsp-response")

    async def give_pem(self, request: web.Request) -> web.StreamResponse:
        """Give the CA's certificates as PEM, the root last."""
        pem = "".join(ssl.DER_cert_to_PEM_cert(der) for der in self._office.authority.chain())
        return web.Response(text=pem, content_type="application/x-pem-file")

    async def _issue(self, request: web.Request, *, token: str = "", certificate: str = "") -> web.StreamResponse:
        address = _address(request)
        self._guard.verify_open(address)
        parsed = _parse(await _body(request))
        if isinstance(parsed, Malformed):
            self._guard.refused(address)
            return _say(400, parsed.reason)
        try:
            der = await self._office.enrol(parsed, token=token, certificate=certificate, address=address)
        except ThingwardError as error:
            if not error.retryable:
                self._guard.refused(address)
            raise
        if not der:
            return _say(202, "a person has to approve it.", headers={"Retry-After": str(RETRY_S)})
        return _est(encode_certificates((der,)), CERTIFICATES)

    @property
    def _answer_errors(self) -> Middleware:
        @web.middleware
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self._free.locked():
                return _say(503, "busy.", headers={"Retry-After": str(RETRY_S)})
            async with self._free:
                try:
                    return await handler(request)
                except ThingwardError as error:
                    headers = {"Retry-After": str(RETRY_S)} if error.retryable or error.status == 429 else {}
                    _log.info("refused", path=request.path, address=_address(request), reason=str(error))
                    return _say(error.status if error.status >= 400 else 500, str(error), headers=headers)

        return answer


def server_context(chain: tuple[bytes, ...], certificate_file: str, key_file: str) -> ssl.SSLContext:
    """Give the TLS of EST: a client certificate is not needed, but if there is one it is the CA's.

    Another CA's ends the handshake. Its time is not checked here but by core, and its revocation at every request: TLS
    checks neither when it resumes a session, which is therefore switched off.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate_file, key_file)
    context.load_verify_locations(cadata=b"".join(chain))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | _NO_CHECK_TIME)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    return context


def _parse(body: bytes) -> ParsedRequest | Malformed:
    der = decode_request(body)
    return der if isinstance(der, Malformed) else read_request(der)


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError as error:
        raise InvalidInput("the body came too slowly.") from error


def _address(request: web.Request) -> str:
    return request.remote or ""


def _est(der: bytes, content_type: str) -> web.Response:
    headers = {"Content-Type": content_type, "Content-Transfer-Encoding": "base64"}
    return web.Response(body=encode_body(der), headers=headers)


def _say(status: int, text: str, *, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=headers)
