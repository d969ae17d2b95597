"""What of an event stands in which column, and events out of rows; `columns.py` is the way in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from thingward.model.event import Event
from thingward.model.finding import Finding
from thingward.model.ids import Tenant, Uid
from thingward.model.observation import Data, Endpoint, FlowData

#: Columns in order: name and SQL type. `key` is the uid as 128 bits (its hash, if it has another form).
COLUMNS: Final = (
    ("tenant", "VARCHAR"),
    ("key", "UUID"),
    ("uid", "VARCHAR"),
    ("time", "DOUBLE"),
    ("source", "VARCHAR"),
    ("site", "VARCHAR"),
    ("kind", "VARCHAR"),
    ("class_uid", "INTEGER"),
    ("activity_id", "INTEGER"),
    ("severity", "TINYINT"),
    ("src_mac", "VARCHAR"),
    ("src_ip", "VARCHAR"),
    ("src_port", "INTEGER"),
    ("src_device", "VARCHAR"),
    ("src_name", "VARCHAR"),
    ("dst_mac", "VARCHAR"),
    ("dst_ip", "VARCHAR"),
    ("dst_port", "INTEGER"),
    ("dst_device", "VARCHAR"),
    ("dst_name", "VARCHAR"),
    ("proto", "SMALLINT"),
    ("app", "VARCHAR"),
    ("begins", "BOOLEAN"),
    ("packets_out", "BIGINT"),
    ("bytes_out", "BIGINT"),
    ("packets_in", "BIGINT"),
    ("bytes_in", "BIGINT"),
    ("first", "DOUBLE"),
    ("last", "DOUBLE"),
    ("message", "VARCHAR"),
    ("rest", "BLOB"),
)
NAMES: Final = tuple(name for name, _ in COLUMNS)
FINDING: Final = "finding"


class _FlowRest(msgspec.Struct, frozen=True, array_like=True):
    """What of a flow has no column; `columns.py` writes it by position. What a file is too old for misses at the end."""

    flow: bytes
    state: str
    ethertype: int
    flags_out: int
    flags_in: int
    icmp_type: int
    name: str
    mid_stream: bool
    tunnel: str = ""
    vlan: int = 0


class _Rest(msgspec.Struct, frozen=True, array_like=True):
    """What of an event has no column; an endpoint that is missing has None for its names.

    Where the event has no message of its own (`is_line_made`), that column holds its line, for those who search.
    """

    parents: tuple[bytes, ...]
    src_names: tuple[str, ...] | None
    src_roles: tuple[str, ...]
    dst_names: tuple[str, ...] | None
    dst_roles: tuple[str, ...]
    flow: _FlowRest | None
    data: Data | None
    is_line_made: bool = False


_rests = msgspec.msgpack.Decoder(_Rest)
_tags: dict[type, str] = {}


def kind_of(record: Event | Finding) -> str:
    """Give the tag of an event's data, or `finding`."""
    body = type(record.data) if isinstance(record, Event) else Finding
    tag = _tags.get(body)
    if tag is None:
        tag = _tags[body] = str(body.__struct_config__.tag)
    return tag


def uid_key(uid: str) -> str:
    """Give 32 hex digits for a uid: itself, or a hash if it is not of that form."""
    return uid if _is_hex(uid) else hashlib.blake2b(_text(uid), digest_size=16).hexdigest()


def event_of(row: Sequence[Any]) -> Event:
    """Give the event of a row whose columns are `COLUMNS`; the key as text in any form."""
    (tenant, key, uid, time, source, site, _, class_uid, activity_id, severity, *ends) = row[:20]
    (proto, app, _, packets_out, bytes_out, packets_in, bytes_in, first, last, message, packed) = row[20:]
    rest = _rests.decode(packed)
    data = rest.data
    if rest.flow is not None:
        flow = rest.flow
        data = FlowData(
            flow=Uid(_unpack_uid(flow.flow)),
            state=flow.state,  # type: ignore[arg-type]
            first=first,
            last=last,
            proto=proto,
            ethertype=flow.ethertype,
            packets_out=packets_out,
            bytes_out=bytes_out,
            packets_in=packets_in,
            bytes_in=bytes_in,
            flags_out=flow.flags_out,
            flags_in=flow.flags_in,
            icmp_type=flow.icmp_type,
            app=app,
            name=flow.name,
            mid_stream=flow.mid_stream,
            tunnel=flow.tunnel,
            vlan=flow.vlan,
        )
    assert data is not None
    return Event(
        uid=Uid(uid or str(key).replace("-", "")),
        tenant=Tenant(tenant),
        time=time,
        source=source,
        parents=tuple(_unpack_uid(parent) for parent in rest.parents),
        class_uid=class_uid,
        activity_id=activity_id,
        severity=severity,
        site=site,
        src=_endpoint(ends[:5], rest.src_names, rest.src_roles),
        dst=_endpoint(ends[5:], rest.dst_names, rest.dst_roles),
        data=data,
        message="" if rest.is_line_made else message,
    )


def name_of(endpoint: Endpoint | None, data: Data, *, is_dst: bool) -> str:
    """Give the name that an end is shown by: as DNS knows it, else as the flow named its server."""
    if endpoint is not None and endpoint.names:
        return endpoint.names[0]
    return data.name if is_dst and isinstance(data, FlowData) else ""


def _endpoint(values: Sequence[Any], names: tuple[str, ...] | None, roles: tuple[str, ...]) -> Endpoint | None:
    if names is None:
        return None
    mac, ip, port, device, _ = values
    return Endpoint(mac=mac, ip=ip, port=port, device=device, names=names, roles=roles)


def _is_hex(uid: str) -> bool:
    return len(uid) == 32 and not uid.strip("0123456789abcdef")


def _unpack_uid(packed: bytes) -> str:
    if len(packed) == 16:
        return packed.hex()
    return packed.lstrip(b"\0").decode("utf-8", "surrogatepass")


def _text(uid: str) -> bytes:
    return uid.encode("utf-8", "surrogatepass")
