"""Lines that others push: Zeek, Suricata EVE or our own JSON lines to observations, with what is wrong line by line."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from thingward.model.ids import hashed_uid
from thingward.model.observation import (
    AlertData,
    CredentialData,
    DnsData,
    Endpoint,
    FlowData,
    HttpData,
    IdentityData,
    LeaseData,
    LogData,
    MqttData,
    Observation,
    TlsData,
)
from thingward.model.record import Malformed
from thingward.sensing.eve import EveLog
from thingward.sensing.log_files import MAX_LINE_BYTES, LogContext
from thingward.sensing.zeek import ZeekLog

PushForm = Literal["auto", "zeek", "eve", "observation"]

MAX_LINES: Final = 10_000
MAX_ERRORS: Final = 50
#: How far a sender's clock may run ahead, in seconds.
AHEAD_S: Final = 86_400.0
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")

#: What a line of our own form may say; the life of sensors and what was read of files are for sensors to tell.
PushedData = (
    FlowData | DnsData | IdentityData | LeaseData | HttpData | TlsData | MqttData | CredentialData | AlertData | LogData
)


class PushedEnd(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One end of a conversation: hardware address, address, port, as far as known."""

    mac: str = ""
    ip: str = ""
    port: int = 0


class PushedLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One observation in our own form.

    Attributes:
        time: seconds since 1970. data: what was seen, with `type` as in docs/reference/events.md.
    """

    time: float
    data: PushedData
    src: PushedEnd | None = None
    dst: PushedEnd | None = None


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What a body held.

    Attributes:
        form: how its lines were read. rejected: lines that could not be; `errors` names the first of them.
        ignored: lines that are known and say nothing of devices, by kind.
    """

    form: PushForm
    lines: int
    observations: tuple[Observation, ...]
    rejected: int = 0
    errors: tuple[str, ...] = ()
    ignored: dict[str, int] = {}


_Read = Callable[[bytes], list[Observation]]
_line_decoder = msgspec.json.Decoder(PushedLine)


def read_pushed(body: bytes, context: LogContext, *, form: PushForm, kind: str, now: float) -> Pushed:
    """Read a body of lines. A line's uid comes from what it says: the same line sent again is the same observation.

    Args:
        kind: of Zeek logs where the lines do not say it (`conn`, `dns` ...), else empty.
        now: seconds since 1970; a line from later than a day after it is rejected.
    """
    lines = [line.rstrip(b"\r") for line in body.split(b"\n")]
    chosen = form if form != "auto" else _form_of(lines)
    read, ignored = _reader(chosen, context, kind)
    taken: list[Observation] = []
    errors: list[str] = []
    rejected = filled = 0
    for number, line in enumerate(lines, 1):
        filled += bool(line.strip())
        found, reason = _judged(read, line, now) if len(line) <= MAX_LINE_BYTES else ([], "the line is too long")
        if reason:
            rejected += 1
            if len(errors) < MAX_ERRORS:
                errors.append(f"line {number}: {reason}")
            continue
        taken += [_named(row, context, line, index) for index, row in enumerate(found)]
    return Pushed(
        form=chosen,
        lines=filled,
        observations=tuple(taken),
        rejected=rejected,
        errors=tuple(errors),
        ignored=ignored,
    )


def _form_of(lines: list[bytes]) -> PushForm:
    """Tell the form by the first line that is not empty."""
    first = next((line for line in lines if line.strip()), b"")
    try:
        row = msgspec.json.decode(first)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "zeek"
    if isinstance(row, dict) and "event_type" in row:
        return "eve"
    return "observation" if isinstance(row, dict) and isinstance(row.get("data"), dict) else "zeek"


def _reader(form: PushForm, context: LogContext, kind: str) -> tuple[_Read, dict[str, int]]:
    """Give what reads one line, and the table in which it counts what it passes over."""
    if form == "observation":
        return (lambda line: _own_line(line, context) if line.strip() else []), {}
    log: EveLog | ZeekLog = EveLog(context, "eve") if form == "eve" else ZeekLog(context, kind or "log")
    return log.feed, log.tally.ignored


def _judged(read: _Read, line: bytes, now: float) -> tuple[list[Observation], str]:
    """Read one line; gives what it says, or why it says nothing."""
    found = read(line)
    for row in found:
        if isinstance(row.data, Malformed):
            return [], row.data.reason
        if not 0 < row.time <= now + AHEAD_S:
            return [], f"its time ({row.time:.0f}) cannot be"
    return found, ""


def _own_line(line: bytes, context: LogContext) -> list[Observation]:
    try:
        given = _line_decoder.decode(line)
        src, dst = _end(given.src), _end(given.dst)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        return [_observation(context, 0.0, None, None, Malformed(reason=str(error)[:200], protocol="observation"))]
    return [_observation(context, given.time, src, dst, given.data)]


def _end(given: PushedEnd | None) -> Endpoint | None:
    if given is None:
        return None
    mac = given.mac.lower()
    if mac and not _MAC.fullmatch(mac):
        raise ValueError(f"{given.mac[:40]!r} is no hardware address")
    if not 0 <= given.port <= 65535:
        raise ValueError(f"{given.port} is no port")
    return Endpoint(mac=mac, ip=str(ipaddress.ip_address(given.ip)) if given.ip else "", port=given.port)


def _observation(
    context: LogContext, time: float, src: Endpoint | None, dst: Endpoint | None, data: PushedData | Malformed
) -> Observation:
    return Observation(
        uid=hashed_uid("push"),
        tenant=context.tenant,
        time=time,
        source=context.source,
        site=context.site,
        src=src,
        dst=dst,
        data=data,
    )


def _named(row: Observation, context: LogContext, line: bytes, index: int) -> Observation:
    uid = hashed_uid("push", context.tenant, context.source, str(index), line.decode("latin-1"))
    return msgspec.structs.replace(row, uid=uid, parents=())
