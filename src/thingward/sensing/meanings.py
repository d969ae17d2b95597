"""What decoded messages mean, worked out once however often the same bytes come, and from whomever."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Final, cast

import msgspec

from thingward.model.observation import Data, DnsData, Endpoint, HttpData, IdentityData, LeaseData, MqttData, TlsData
from thingward.model.record import Malformed
from thingward.sensing.observe import bodies_of
from thingward.sensing.observe_datagrams import mdns_confidence
from thingward.sensing.sensor_payloads import Messages, PayloadLimits
from thingward.wire.dns import DnsMessage

_MAX_KEPT: Final = 8192
_MAX_SPECIAL: Final = 16
_MAX_NUMBERS: Final = 65536
_COUNTED: Final = frozenset({"connect", "disconnect"})


class _Asked(Exception):
    """Something about an end was asked: what the messages mean depends on who sends them."""


class _Anybody:
    """Stands for an end of the conversation, whoever that is."""

    __slots__ = ()

    def __getattr__(self, name: str) -> str:
        raise _Asked


SENDER: Final = cast(Endpoint, _Anybody())
RECEIVER: Final = cast(Endpoint, _Anybody())
"""In a `Body`: the message's sender and receiver (datagrams), the connection's initiator and responder (streams)."""


class Body(msgspec.Struct, frozen=True, gc=False):
    """One body of what messages mean.

    Attributes:
        src, dst: SENDER, RECEIVER, an endpoint that the messages themselves name, or None.
        number: names the content, so that a repeat is found without comparing it; 0 where repeats count.
        repeat_s: the same content by the same sender is said again only after this time.
        is_to: a repeat to somebody else is not a repeat.
    """

    src: Endpoint | None
    dst: Endpoint | None
    data: Data
    number: int = 0
    repeat_s: float = 0.0
    is_to: bool = False


class Meaning(msgspec.Struct, frozen=True, gc=False):
    """What some messages mean.

    Attributes:
        app: protocol by content, empty if none.
        name: the server's name if one was asked for.
        malformed: reasons, one per message that could not be understood.
    """

    bodies: tuple[Body, ...]
    app: str
    name: str
    malformed: tuple[str, ...]


class Meanings:
    """Remembers meanings by the identity of the messages, which their decoders' memories hand out again and again."""

    def __init__(self, limits: PayloadLimits) -> None:
        self._limits = limits
        self._kept: dict[int, tuple[Messages, Meaning | None, dict[Hashable, Meaning]]] = {}
        self._numbers: dict[Data | str, int] = {}
        self._next = 1

    def of(self, messages: Messages, src: Endpoint, dst: Endpoint) -> Meaning:
        """Give what messages mean when `src` sends them to `dst`; streams: initiator and responder."""
        kept = self._kept.get(id(messages))
        if kept is None or kept[0] is not messages:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            kept = self._kept[id(messages)] = (messages, self._general(messages), {})
        return kept[1] or self._special(messages, src, dst, kept[2])

    def _special(self, messages: Messages, src: Endpoint, dst: Endpoint, kept: dict[Hashable, Meaning]) -> Meaning:
        """Give what messages mean that depends on who sends them: once for all senders that make no difference."""
        kind = kind_of_sender(messages, src)
        meaning = kept.get(kind or (src, dst))
        if meaning is None:
            if len(kept) >= _MAX_SPECIAL:
                kept.clear()
            meaning = self._meaning(messages, src, dst)
            if kind and src is not dst:
                bodies = tuple(
                    msgspec.structs.replace(body, src=_role(body.src, src, dst), dst=_role(body.dst, src, dst))
                    for body in meaning.bodies
                )
                meaning = msgspec.structs.replace(meaning, bodies=bodies)
                kept[kind] = meaning
            else:
                kept[src, dst] = meaning
        return meaning

    def _general(self, messages: Messages) -> Meaning | None:
        """Give what messages mean whoever sends them; None if that depends on it."""
        try:
            return self._meaning(messages, SENDER, RECEIVER)
        except _Asked:
            return None

    def _meaning(self, messages: Messages, src: Endpoint, dst: Endpoint) -> Meaning:
        app = name = ""
        bodies: list[Body] = []
        malformed: list[str] = []
        for message in messages:
            if isinstance(message, Malformed):
                malformed.append(message.reason)
            elif not app and message.protocol != "credential":
                app = message.protocol
            for body in self._bodies(src, dst, message):
                if isinstance(body.data, TlsData):
                    name = body.data.sni or name
                elif isinstance(body.data, HttpData):
                    name = body.data.host or name
                bodies.append(body)
        return Meaning(tuple(bodies), app, name, tuple(malformed))

    def _bodies(self, src: Endpoint, dst: Endpoint, message: object) -> Iterator[Body]:
        for sender, receiver, data in bodies_of(src, dst, message):  # type: ignore[arg-type]
            repeat_s, is_to = self._repeats(data)
            content = data.reason if isinstance(data, Malformed) else data
            yield Body(sender, receiver, data, self._number(content) if repeat_s else 0, repeat_s, is_to)

    def _repeats(self, data: Data) -> tuple[float, bool]:
        """Tell after which time the same content is said again, 0 for always, and whether the receiver matters.

        What rules count (log-ins, sessions, questions to a resolver) is said each time. Requests, hellos and topics are
        evidence of what a device does; how often it does it, its flows say. A lease asked for or given again within
        a minute is the same one.
        """
        limits = self._limits
        if isinstance(data, IdentityData):
            return limits.identity_s, False
        if isinstance(data, Malformed):
            return limits.malformed_s, False
        if isinstance(data, DnsData):
            return (0.0 if data.transport == "dns" else limits.repeat_s), False
        if isinstance(data, HttpData | TlsData):
            return limits.repeat_s, True
        if isinstance(data, LeaseData):
            return limits.leases_s, True
        if isinstance(data, MqttData):
            return (0.0 if data.operation in _COUNTED else limits.repeat_s), True
        return 0.0, False

    def _number(self, content: Data | str) -> int:
        number = self._numbers.get(content)
        if number is None:
            if len(self._numbers) >= _MAX_NUMBERS:
                self._numbers.clear()
            number = self._numbers[content] = self._next
            self._next += 1
        return number


def kind_of_sender(messages: Messages, sender: Endpoint) -> tuple[float, ...]:
    """Tell apart the senders from whom messages mean different things; empty if every sender is a kind of its own."""
    kinds: list[float] = []
    for message in messages:
        if not isinstance(message, DnsMessage) or message.transport != "mdns":
            return ()
        kinds.append(mdns_confidence(sender, message))
    return tuple(kinds)


def _role(end: Endpoint | None, src: Endpoint, dst: Endpoint) -> Endpoint | None:
    return SENDER if end is src else RECEIVER if end is dst else end
