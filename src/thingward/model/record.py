"""The five fields that every record carries, and the bounded reasons that decoders return."""

from __future__ import annotations

import msgspec

from thingward.model.ids import Tenant, Uid


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of all records. They never form cycles, so the garbage collector does not walk the many of them.

    Attributes:
        uid: identity; the same uid is the same record wherever it is met again.
        tenant: owner; nothing crosses it.
        time: when it happened, seconds since 1970-01-01 UTC.
        source: who says so, for example `sensor:eth0`, `guard:file.pcap`, `core`.
        parents: uids of what it was made from, `<batch uid>#<offset>` for a packet.
    """

    uid: Uid
    tenant: Tenant
    time: float
    source: str
    parents: tuple[str, ...] = ()


class Malformed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="malformed"):
    """Bytes that could not be understood; data, not an exception.

    Attributes:
        reason: short stable phrase, for example `dns: name loops`.
        offset: where in the input, in bytes.
        sample: at most 32 bytes of it.
        protocol: what was expected.
    """

    reason: str
    offset: int = 0
    sample: bytes = b""
    protocol: str = ""


class Secret:
    """A value that never prints: `reveal()` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the value; the caller answers for where it goes."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)
