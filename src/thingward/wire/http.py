"""HTTP/1 on a connection (RFC 9110, 9112): requests with their answers, and log-ins in the clear."""

from __future__ import annotations

from collections import deque
from typing import ClassVar

import msgspec

from thingward.model.record import Malformed
from thingward.wire.forms import find_form_login, hide_secrets
from thingward.wire.head import MAX_HEAD_BYTES, basic_credential, head_end, outcome_of, parse_head, split_status
from thingward.wire.message import Credential, Message, StreamDecoder, Unreadable, clean_text, malformed
from thingward.wire.tls import TlsDecoder, is_client_hello

MAX_STREAM_BYTES = 131072
MAX_EXCHANGES = 32
MAX_WAITING = 16
MAX_FORM_BYTES = 4096
METHODS = frozenset(
    b"GET POST HEAD PUT DELETE OPTIONS PATCH CONNECT TRACE PROPFIND SUBSCRIBE UNSUBSCRIBE NOTIFY M-SEARCH".split()
)
_UNKNOWN = -1


class HttpExchange(Message, frozen=True, kw_only=True):
    """One request with its answer, or alone when no answer was seen (then status is 0).

    Attributes:
        path: with its query; values of fields that look secret are hidden; at most 256 characters.
        realm: what WWW-Authenticate calls the place: devices often put their model there.
    """

    protocol: ClassVar[str] = "http"
    method: str
    host: str = ""
    path: str = ""
    user_agent: str = ""
    status: int = 0
    server: str = ""
    realm: str = ""


class _Side:
    """One direction: bytes not yet understood, and how much body is still to be passed over."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.skip = 0
        self.seen = 0
        self.over = False


class HttpDecoder:
    """Pairs requests and answers of one connection; `RtspDecoder` differs in four constants."""

    protocol: ClassVar[str] = "http"
    _exchange: ClassVar[type[HttpExchange]] = HttpExchange
    _version: ClassVar[bytes] = b"HTTP/1."
    _methods: ClassVar[frozenset[bytes]] = METHODS
    _basic_scheme: ClassVar[str] = "http-basic"

    def __init__(self) -> None:
        self._sides = {True: _Side(), False: _Side()}
        self._client: bool | None = None
        self._waiting: deque[tuple[HttpExchange, Credential | None]] = deque()
        self._form: tuple[HttpExchange, int, bytes] | None = None
        self._count = 0
        self._tunnel = False
        self._inner: StreamDecoder | None = None

    @property
    def done(self) -> bool:
        """Enough was seen, or both directions cannot be followed any more."""
        if self._inner is not None:
            return self._inner.done
        if self._tunnel:
            return False
        return self._count >= MAX_EXCHANGES or (self._sides[True].over and self._sides[False].over)

    def feed(self, from_initiator: bool, data: bytes) -> list[Message | Malformed]:
        """Take the next bytes of one direction."""
        if self._inner is not None:
            return self._inner.feed(from_initiator, data)
        if self._tunnel:
            self._tunnel = False
            self._inner = TlsDecoder() if is_client_hello(data) else None
            return [] if self._inner is None else self._inner.feed(from_initiator, data)
        side = self._sides[from_initiator]
        if side.over or self._count >= MAX_EXCHANGES:
            return []
        if self._client is None:
            start = bytes(side.buffer[:8]) + data[:8]
            if len(start) < len(self._version) and self._version.startswith(start):
                side.buffer += data
                return []
            self._client = from_initiator != start.startswith(self._version)
        if not self._admit(side, data, from_initiator == self._client):
            return []
        found: list[Message | Malformed] = []
        try:
            self._advance(side, from_initiator == self._client, found)
        except Unreadable as error:
            side.over = True
            found.append(malformed(self.protocol, error.reason, bytes(side.buffer[:64]), error.offset))
            side.buffer.clear()
        return found

    def _admit(self, side: _Side, data: bytes, is_client: bool) -> bool:
        """Pass over what remains of a body, buffer the rest; false if nothing is left to look at.

        After a body of unknown length the next head is found where a segment begins like one.
        """
        side.seen += len(data)
        if side.seen > MAX_STREAM_BYTES:
            side.over = True
        if side.skip == _UNKNOWN:
            begins = self._is_request(data) if is_client else data.startswith(self._version) and bool(self._waiting)
            if not begins:
                return False
            side.skip = 0
        if side.skip:
            passed = min(side.skip, len(data))
            side.skip -= passed
            data = data[passed:]
        side.buffer += data
        return bool(side.buffer)

    def _is_request(self, data: bytes) -> bool:
        return data[:16].split(b" ", 1)[0] in self._methods

    def _advance(self, side: _Side, is_client: bool, found: list[Message | Malformed]) -> None:
        for _ in range(MAX_EXCHANGES):
            if is_client and self._form is not None and not self._read_form(side):
                return
            end = head_end(side.buffer)
            if end < 0:
                if len(side.buffer) >= MAX_HEAD_BYTES:
                    raise Unreadable("head too long", 0)
                if (
                    is_client
                    and len(side.buffer) >= 16
                    and not self._is_request(bytes(side.buffer[:18]).lstrip(b"\r\n"))
                ):
                    raise Unreadable("not a request", 0)
                return
            head = bytes(side.buffer[:end])
            length = self._request(head) if is_client else self._answer(head, found)
            del side.buffer[:end]
            self._count += 1
            if length == _UNKNOWN:
                side.skip = _UNKNOWN
                side.buffer.clear()
                return
            if self._form is None or not is_client:
                passed = min(length, len(side.buffer))
                del side.buffer[:passed]
                side.skip = length - passed
            if not side.buffer:
                return

    def _request(self, head: bytes) -> int:
        """Note a request; gives the length of its body, which stays in place if it may be a log-in form."""
        first, headers = parse_head(head.lstrip(b"\r\n"))
        method, _, rest = first.partition(b" ")
        target, _, version = rest.rpartition(b" ")
        if method not in self._methods or not version.startswith(self._version):
            raise Unreadable("not a request", 0)
        path, host = _split_target(target, headers.get(b"host", b""))
        exchange = self._exchange(
            from_initiator=self._client is True,
            method=method.decode("ascii"),
            host=clean_text(host).lower(),
            path=clean_text(hide_secrets(path)),
            user_agent=clean_text(headers.get(b"user-agent", b"")),
        )
        length = _body_length(headers)
        kind = headers.get(b"content-type", b"").lower()
        credential = basic_credential(headers.get(b"authorization", b""), self._basic_scheme, "unknown")
        if credential is None:
            credential = find_form_login(path.partition(b"?")[2], b"")
        if credential is None and 0 < length <= MAX_FORM_BYTES and (b"urlencoded" in kind or b"json" in kind):
            self._form = (exchange, length, kind)
            return length
        self._wait(exchange, credential)
        return length

    def _read_form(self, side: _Side) -> bool:
        """Look for a log-in in a form's body once all of it is there."""
        assert self._form is not None
        exchange, length, kind = self._form
        if len(side.buffer) < length:
            return False
        self._form = None
        body = bytes(side.buffer[:length])
        del side.buffer[:length]
        self._wait(exchange, find_form_login(body, kind))
        return True

    def _wait(self, exchange: HttpExchange, credential: Credential | None) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append((exchange, credential))

    def _answer(self, head: bytes, found: list[Message | Malformed]) -> int:
        """Match an answer with the oldest request; gives the length of its body, -1 if unknown."""
        first, headers = parse_head(head)
        if not first.startswith(self._version):
            raise Unreadable("not an answer", 0)
        status = split_status(first)
        if 100 <= status < 200 and status != 101:
            return 0
        exchange, credential = self._waiting.popleft() if self._waiting else (self._exchange(method=""), None)
        if not exchange.method:
            exchange = msgspec.structs.replace(exchange, from_initiator=self._client is True)
        found += self._settled(exchange, credential, status, headers)
        if status == 101 or (exchange.method == "CONNECT" and status < 300):
            self._leave(exchange)
            return 0
        if exchange.method == "HEAD" or status in (204, 304):
            return 0
        return _body_length(headers, _UNKNOWN)

    def _leave(self, exchange: HttpExchange) -> None:
        """Stop following: another protocol begins; after CONNECT that is usually TLS."""
        self._tunnel = exchange.method == "CONNECT"
        self._count = MAX_EXCHANGES

    def _settled(
        self, exchange: HttpExchange, credential: Credential | None, status: int, headers: dict[bytes, bytes]
    ) -> list[Message | Malformed]:
        whole = msgspec.structs.replace(
            exchange,
            status=status,
            server=clean_text(headers.get(b"server", b"")),
            realm=_realm(headers.get(b"www-authenticate", b"")),
        )
        if credential is None:
            return [whole]
        outcome = outcome_of(status)
        if credential.scheme == "http-form" and outcome == "success":
            outcome = "unknown"
        return [
            whole,
            msgspec.structs.replace(credential, outcome=outcome, from_initiator=exchange.from_initiator),
        ]

    def finish(self) -> list[Message | Malformed]:
        """Give the requests that no answer came for."""
        if self._form is not None:
            self._wait(self._form[0], None)
            self._form = None
        found: list[Message | Malformed] = []
        while self._waiting:
            exchange, credential = self._waiting.popleft()
            found.append(exchange)
            if credential is not None:
                found.append(msgspec.structs.replace(credential, from_initiator=exchange.from_initiator))
        return found + (self._inner.finish() if self._inner is not None else [])


def _split_target(target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Give path and host; an absolute target (to a proxy, RTSP) names its host itself."""
    scheme, separator, rest = target.partition(b"://")
    if not separator or len(scheme) > 8:
        return target, host
    authority, slash, path = rest.partition(b"/")
    return slash + path, host or authority.rpartition(b"@")[2]


def _body_length(headers: dict[bytes, bytes], missing: int = 0) -> int:
    """Give the length of the body; -1 if only reading it could tell, `missing` if the head says nothing."""
    if b"transfer-encoding" in headers:
        return _UNKNOWN
    text = headers.get(b"content-length")
    if text is None:
        return missing
    return int(text) if text.isdigit() and len(text) < 16 else _UNKNOWN


def _realm(value: bytes) -> str:
    """Give the realm of the first challenge; empty if there is none."""
    start = value.lower().find(b"realm=")
    if start < 0:
        return ""
    rest = value[start + 6 :]
    return clean_text(rest[1:].partition(b'"')[0] if rest.startswith(b'"') else rest.partition(b",")[0])


def is_http_request(data: bytes) -> bool:
    """Tell by the method and the space after it."""
    return data[:12].split(b" ", 1)[0] in METHODS and b" " in data[:12]
