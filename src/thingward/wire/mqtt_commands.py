"""What the proxy machine asks (a door and its gates) and what it tells its shell to do."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from thingward.model.record import Malformed, Secret
from thingward.model.topic_access import Operation, TopicDecision, TopicRequest
from thingward.wire.mqtt_packets import Connack, Connect


class Side(StrEnum):
    """Whose connection."""

    CLIENT = "client"
    BROKER = "broker"


class Gate(Protocol):
    """Decides for one connection; never waits, never raises.

    Attributes:
        standing: permits that need not be asked for again: by direction and first byte of a PUBLISH (`standing_key`),
            then by topic as on the wire, the greatest payload. The machine fills it, the gate empties it whenever its
            rules change.
        is_paced: whether `pace` has any limit to keep.
    """

    standing: dict[int, dict[bytes, int]]
    is_paced: bool

    def decide(self, request: TopicRequest) -> TopicDecision:
        """Say whether the device may do that."""
        ...

    def count_passed(self, operation: Operation, count: int) -> None:
        """Count messages that went by standing permits."""
        ...

    def pace(self, size_bytes: int, now: float) -> float:
        """Count one message of the device's and give the seconds for which to read no more from it; 0 for none."""
        ...


def standing_key(side: Side, head: int) -> int:
    """Name a direction (by its sender) and the first byte of its PUBLISH."""
    return head if side is Side.CLIENT else head | 0x100


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """A door's answer to a CONNECT.

    Attributes:
        code: MQTT 5 reason of a refusal; 3.1.1 gets the return code that is closest.
        device: who it is, as far as known.
        user, password: what the broker is told instead of the client's own; None leaves them as they are.
    """

    decision: TopicDecision
    gate: Gate
    device: str = ""
    code: int = 0x87
    user: str | None = None
    password: Secret | None = None


class AdmitAtDoor(Protocol):
    """Whether a client may come in, and who decides for it from then on."""

    def __call__(self, connect: Connect, now: float) -> Admission:
        """Judge a CONNECT; never waits, never raises."""
        ...


class OldRefusal(StrEnum):
    """What becomes of a refused publication in MQTT 3.1 and 3.1.1, which have no word for it."""

    ACKNOWLEDGE = "acknowledge"
    DISCONNECT = "disconnect"


class ProxyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and choices of one machine.

    Attributes:
        versions: protocol versions that the broker speaks (3, 4, 5); others are answered here.
        max_packet_bytes: greatest packet of either side.
        max_control_bytes: greatest packet that is no PUBLISH, and greatest head of one; it is kept whole.
        stream_bytes: a PUBLISH above this is passed on as it comes, once its head has been judged.
        max_held_bytes: input kept while reading is paused; a shell that stops reading never gets there.
        max_alias_bytes: all topics that one side has given aliases to.
        max_pending: SUBSCRIBEs, and refused QoS 2 publications, that wait for their end.
    """

    versions: frozenset[int] = frozenset({3, 4, 5})
    max_packet_bytes: int = 268_435_460
    max_control_bytes: int = 262_144
    stream_bytes: int = 16_384
    max_held_bytes: int = 1_048_576
    max_alias_bytes: int = 65_536
    max_pending: int = 1024
    old_refusal: OldRefusal = OldRefusal.ACKNOWLEDGE


class ToBroker(msgspec.Struct, frozen=True):
    """Write to the broker."""

    data: bytes


class ToClient(msgspec.Struct, frozen=True):
    """Write to the client."""

    data: bytes


class Pause(msgspec.Struct, frozen=True):
    """Read no more from a side; with seconds, call `resume` after them."""

    side: Side
    seconds: float = 0.0


class Resume(msgspec.Struct, frozen=True):
    """Read again from a side."""

    side: Side


class Arrived(msgspec.Struct, frozen=True):
    """A CONNECT was judged. Unless refused, open the connection to the broker: bytes for it follow."""

    connect: Connect
    device: str
    decision: TopicDecision


class Opened(msgspec.Struct, frozen=True):
    """The broker accepted the client."""

    client_id: str
    connack: Connack


class Judged(msgspec.Struct, frozen=True):
    """No grant permits this; whether it passed nevertheless says `decision.enforced`. Permits are counted, not told."""

    request: TopicRequest
    decision: TopicDecision


class Broken(msgspec.Struct, frozen=True):
    """A side sent what the standard forbids; a Close follows."""

    side: Side
    fault: Malformed


class Close(msgspec.Struct, frozen=True):
    """Write what is queued, then close both connections. The last command of a machine.

    Attributes:
        reason: stable phrase.
        code: MQTT 5 reason, as sent or as it would be; 0 for a normal end.
    """

    reason: str
    code: int = 0


Command = ToBroker | ToClient | Pause | Resume | Arrived | Opened | Judged | Broken | Close
