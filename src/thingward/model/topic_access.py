"""Who may do what with which topics: what a gateway asks, what it is answered, and the snapshot that answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from thingward.model.errors import InvalidInput
from thingward.model.packed import unpack

SNAPSHOT_FORMAT: Final = 1
_MARK: Final = b"thingward access\n"


class Operation(StrEnum):
    """What is done with a topic. A will is a publication; what the broker delivers is `receive`."""

    CONNECT = "connect"
    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    RECEIVE = "receive"


class Door(StrEnum):
    """By which of the three doors a device comes in; each device has exactly one."""

    ENROLLED = "enrolled"
    LEGACY = "legacy"
    GUEST = "guest"


class Mode(StrEnum):
    """Whether a refusal is carried out, or only shown."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


class TopicRequest(msgspec.Struct, frozen=True, gc=False):
    """One thing that a device wants to do.

    Attributes:
        topic: a topic name; for `subscribe` a topic filter without `$share/group/`.
        size_bytes: of the payload.
        group: name of the shared subscription, empty if it is none.
        is_will: the publication is left with the broker for later.
    """

    operation: Operation
    topic: str
    size_bytes: int = 0
    qos: int = 0
    retain: bool = False
    group: str = ""
    is_will: bool = False


class TopicDecision(msgspec.Struct, frozen=True, gc=False):
    """The answer.

    Attributes:
        reason: `granted`, or a stable word that says what is missing.
        enforced: false where the door only observes: then a refusal is told and not carried out.
        grant: name of the grant that permits; on a refusal, of the one that came closest.
        up_to_bytes: the same answer holds for this topic, QoS and retain flag up to that payload; -1 means ask again.
    """

    permit: bool
    reason: str
    enforced: bool = True
    grant: str = ""
    up_to_bytes: int = -1

    @property
    def refuses(self) -> bool:
        """Whether the message must not pass."""
        return self.enforced and not self.permit


class Grant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One permission.

    Attributes:
        name: what decisions call it; unique in its set.
        filter: a topic filter; whole levels or parts of them may be `${device}`, `${client_id}`, `${user}`, `${class}`.
        publish: topic names that match may be published.
        subscribe: filters that lie within may be subscribed to, and matching topics delivered.
        max_bytes: greatest payload; 0 means any.
        max_qos: greatest quality of service of a publication or subscription.
        retain: publications may be retained.
        shared: subscriptions may be shared ones, which take messages away from the other members.
    """

    name: str
    filter: str
    publish: bool = False
    subscribe: bool = False
    max_bytes: int = 0
    max_qos: int = 2
    retain: bool = True
    shared: bool = False


class RateLimit(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often: a bucket of `burst` tokens that fills with `rate_hz`; a rate of 0 means no limit."""

    rate_hz: float = 0.0
    burst: int = 1


class DeviceAccess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device in a snapshot.

    Attributes:
        grants: names of the snapshot's grant sets.
        device_class: fills `${class}` and shares the class's rate limit.
        client_id, user: what it must connect with; empty means anything.
        blocked: why nothing of it may pass (quarantine, revocation); empty means it may. Bites in every mode.
        rates: messages a second from the device.
    """

    door: Door
    grants: tuple[str, ...] = ()
    device_class: str = ""
    client_id: str = ""
    user: str = ""
    blocked: str = ""
    rates: RateLimit = RateLimit()


class AccessSnapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything a gateway decides by; made by core, kept on each gateway's disk.

    Attributes:
        version: rises with every change of the tenant's.
        made_at: seconds since the epoch.
        modes: by door; a door that is not named observes.
        grants: sets of grants by name.
        class_rates, fleet_rate: shared by all devices of a class, and by all.
        strangers: grant sets of the devices that no record names (door `guest`).
    """

    tenant: str
    version: int
    made_at: float
    format: int = SNAPSHOT_FORMAT
    modes: Mapping[Door, Mode] = {}
    grants: Mapping[str, tuple[Grant, ...]] = {}
    devices: Mapping[str, DeviceAccess] = {}
    class_rates: Mapping[str, RateLimit] = {}
    fleet_rate: RateLimit = RateLimit()
    strangers: tuple[str, ...] = ()


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(AccessSnapshot)


def encode_snapshot(snapshot: AccessSnapshot) -> bytes:
    """Pack a snapshot for the link and the gateway's disk: a mark, the format, a SHA-256, MessagePack."""
    body = _encoder.encode(snapshot)
    return _MARK + bytes((snapshot.format,)) + hashlib.sha256(body).digest() + body


def decode_snapshot(data: bytes) -> AccessSnapshot:
    """Unpack what `encode_snapshot` made; raises InvalidInput on anything torn, foreign or of a later format."""
    start = len(_MARK) + 33
    if len(data) < start or not data.startswith(_MARK):
        raise InvalidInput("This is not an access snapshot.")
    if data[len(_MARK)] != SNAPSHOT_FORMAT:
        raise InvalidInput("The access snapshot is of another format.", hint="Upgrade this gateway.")
    if hashlib.sha256(data[start:]).digest() != data[len(_MARK) + 1 : start]:
        raise InvalidInput("The access snapshot is damaged.", hint="It is replaced when core next sends one.")
    return unpack(_decoder, data[start:], "an access snapshot")
