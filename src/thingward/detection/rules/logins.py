"""Log-ins: guessing, worms' lists, makers' defaults, and passwords in clear text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from thingward.detection.flows import SYN, TCP, is_answered, is_last_report
from thingward.detection.knowledge import SiteKnowledge, is_group
from thingward.detection.rule import Hit, RuleInfo, WindowRule, who
from thingward.detection.thresholds import Thresholds
from thingward.detection.window import SumWindow
from thingward.model.device import Device
from thingward.model.event import Event
from thingward.model.finding import FindingArtifact
from thingward.model.observation import CredentialData, Endpoint, FlowData, MqttData, where

# Services where every try is a connection of its own, so that guessing shows even when it is encrypted.
LOGIN_PORTS = {21: "ftp", 22: "ssh", 23: "telnet", 2222: "ssh", 2323: "telnet", 3389: "rdp", 5900: "vnc"}
# MQTT return codes that refuse a log-in: 3.1.1 (4 bad user or password, 5 not authorised), 5.0 (0x86, 0x87, 0x8c).
MQTT_REFUSED = frozenset({4, 5, 0x86, 0x87, 0x8C})
_BRUTE_FORCE = RuleInfo(
    id="login.bruteforce",
    title="Password guessing",
    severity=4,
    confidence=0.85,
    attack=("T1110", "T0859"),
    suggested=("quarantine",),
)


class Guessing(WindowRule):
    """Counts failed log-ins that were seen in clear text, and refused MQTT connections."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (_BRUTE_FORCE,)
    takes: ClassVar[tuple[type, ...]] = (CredentialData, MqttData)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()
        self._t = thresholds
        self._failed = SumWindow(thresholds.login_span_s)
        self.windows = {"failed": self._failed}

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterable[Hit]:
        """Look at log-ins. One wrong password tried again and again is a fault, not guessing."""
        assert isinstance(record, Event)
        data, src, dst = record.data, record.src, record.dst
        if src is None or dst is None:
            return
        t = self._t
        if isinstance(data, MqttData):
            if data.operation == "connect" and data.return_code in MQTT_REFUSED:
                seen = self._failed.add(f"{who(src)} {who(dst)} mqtt refused", 1.0, record.time)
                if seen.count >= t.login_blind_attempts:
                    yield self._hit(record, src, dst, "mqtt", int(seen.count), 0, seen.first, site)
            return
        assert isinstance(data, CredentialData)
        if data.outcome == "success":
            if data.tries >= t.login_pairs:
                yield self._got_in(record, data, src, dst)
            return
        if data.outcome == "unknown" and data.protocol == "mqtt":
            return
        seen = self._failed.add(f"{who(src)} {who(dst)} {data.protocol}", 1.0, record.time)
        count = int(seen.count)
        fast = count >= t.login_attempts and data.tries >= t.login_pairs
        blind = count >= t.login_blind_attempts and data.tries == 0
        if fast or blind or data.tries >= t.login_pairs_slow:
            yield self._hit(record, src, dst, data.protocol, count, data.tries, seen.first, site)

    def _hit(
        self,
        record: Event,
        src: Endpoint,
        dst: Endpoint,
        protocol: str,
        count: int,
        tries: int,
        first: float,
        site: SiteKnowledge,
    ) -> Hit:
        pairs = f", {tries} different passwords or users" if tries else ""
        return Hit(
            rule="login.bruteforce",
            key=f"{who(src)} {who(dst)} {protocol}",
            title=f"{src.ip or src.mac} guesses {protocol} passwords of {dst.ip or dst.mac}",
            reason=f"{count} failed {protocol} log-ins at {where(dst)} within {self._t.login_span_s:.0f} s{pairs}",
            device=src.device,
            target=dst.device,
            src=src,
            dst=dst,
            severity=0 if site.is_local(src) else 3,
            first=min(first, record.time),
            count=count,
        )

    def _got_in(self, record: Event, data: CredentialData, src: Endpoint, dst: Endpoint) -> Hit:
        return Hit(
            rule="login.bruteforce",
            key=f"{who(src)} {who(dst)} {data.protocol} success",
            title=f"{src.ip or src.mac} guessed a {data.protocol} password of {dst.ip or dst.mac}",
            reason=f"log-in at {where(dst)} succeeded after {data.tries} different passwords or users had failed there",
            device=src.device,
            target=dst.device,
            src=src,
            dst=dst,
            severity=5,
            confidence=0.9,
            first=record.time,
            count=data.tries,
        )


class BlindGuessing(WindowRule):
    """Counts short finished connections to a log-in service: guessing that cannot be read.

    Sessions that carry more than a log-in needs are work, not guessing; so are those whose log-in was seen to succeed.
    """

    infos: ClassVar[tuple[RuleInfo, ...]] = (_BRUTE_FORCE,)
    takes: ClassVar[tuple[type, ...]] = (FlowData, CredentialData)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()
        self._t = thresholds
        self._short = SumWindow(thresholds.login_connections_span_s)
        self._welcome = SumWindow(thresholds.login_connections_span_s)
        self._carried = SumWindow(thresholds.login_connections_span_s)
        self.windows = {"short": self._short, "welcome": self._welcome, "carried": self._carried}

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterable[Hit]:
        """Look at finished connections that were answered, short and small."""
        assert isinstance(record, Event)
        data, src, dst = record.data, record.src, record.dst
        if src is None or dst is None or dst.port not in LOGIN_PORTS or is_group(dst):
            return
        key = f"{who(src)} {who(dst)} {dst.port}"
        if isinstance(data, CredentialData):
            if data.outcome == "success" and data.tries < self._t.login_pairs:
                self._welcome.add(key, 1.0, record.time)
            return
        assert isinstance(data, FlowData)
        if data.proto != TCP or not self._is_bare(data):
            return
        is_short = data.last - data.first <= self._t.login_connection_max_s and data.packets_out >= 3
        if not (is_last_report(data) and is_answered(data) and is_short and data.flags_out & SYN):
            return
        protocol = LOGIN_PORTS[dst.port]
        seen = self._short.add(key, 1.0, data.first)
        if seen.count - self._welcome.add(key, 0.0, data.first).count >= self._t.login_connections:
            yield Hit(
                rule="login.bruteforce",
                key=f"{who(src)} {who(dst)} {protocol}",
                title=f"{src.ip or src.mac} seems to guess {protocol} passwords of {dst.ip or dst.mac}",
                reason=f"{seen.count:.0f} short {protocol} connections to {where(dst)} "
                f"within {self._t.login_connections_span_s:.0f} s",
                device=src.device,
                target=dst.device,
                src=src,
                dst=dst,
                severity=0 if site.is_local(src) else 3,
                confidence=0.65,
                first=min(seen.first, data.first),
                count=int(seen.count),
            )

    def _is_bare(self, data: FlowData) -> bool:
        """Tell whether a connection has carried no more than a log-in needs, over all its reports."""
        carried = self._carried.add(data.flow, float(data.bytes_out + data.bytes_in), data.last)
        return carried.count <= self._t.login_connection_max_bytes


class KnownPairs(WindowRule):
    """Names log-ins whose user and password are on a list: a worm's, or a maker's defaults."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (
        RuleInfo(
            id="login.mirai_list",
            title="Log-ins from Mirai's list",
            severity=5,
            confidence=0.95,
            attack=("T1110.001", "T1078.001", "T0812"),
            suggested=("quarantine",),
        ),
        RuleInfo(
            id="login.default_credentials",
            title="Default password accepted",
            severity=4,
            confidence=0.9,
            attack=("T1078.001", "T0812"),
            class_uid=2002,
            repeat_s=86_400.0,
        ),
    )
    takes: ClassVar[tuple[type, ...]] = (CredentialData,)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()
        self._t = thresholds

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterable[Hit]:
        """Look at log-ins; `listed` counts the different pairs of one source, over all targets."""
        assert isinstance(record, Event) and isinstance(record.data, CredentialData)
        data, src, dst = record.data, record.src, record.dst
        if src is None or dst is None:
            return
        if data.listed >= self._t.mirai_pairs and data.lists:
            yield Hit(
                rule="login.mirai_list",
                key=who(src),
                title=f"{src.ip or src.mac} tries the log-ins of a worm",
                reason=f"{data.listed} different pairs of the list that Mirai tries, last at {where(dst)} "
                f"by {data.protocol}",
                device=src.device,
                target=dst.device,
                src=src,
                dst=dst,
                severity=0 if site.is_local(src) else 3,
                first=record.time,
                count=data.listed,
            )
        if data.lists or data.password_empty:
            yield from self._look_default(record, data, src, dst)

    def _look_default(self, record: Event, data: CredentialData, src: Endpoint, dst: Endpoint) -> Iterator[Hit]:
        succeeded = data.outcome == "success"
        # Guessed pairs that failed or ran into silence say nothing about the device.
        if not succeeded and (data.outcome == "failure" or max(data.tries, data.listed) > 2):
            return
        kind = "an empty password" if data.password_empty else "a well-known default password"
        yield Hit(
            rule="login.default_credentials",
            key=f"{who(dst)} {data.protocol}",
            title=f"{dst.ip or dst.mac} {'accepts' if succeeded else 'is offered'} {kind}",
            reason=f"{data.protocol} log-in at {where(dst)} with {kind}: "
            f"{'accepted' if succeeded else 'the answer was not seen'}",
            device=dst.device,
            target=dst.device,
            src=src,
            dst=dst,
            severity=0 if succeeded else 2,
            confidence=-1.0 if succeeded else 0.5,
            first=record.time,
        )


class ClearText(WindowRule):
    """Says which services take passwords that anybody on the way can read."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (
        RuleInfo(
            id="login.cleartext",
            title="Password in clear text",
            severity=2,
            confidence=0.95,
            attack=("T1040", "T0842"),
            class_uid=2002,
            repeat_s=7 * 86_400.0,
        ),
    )
    takes: ClassVar[tuple[type, ...]] = (CredentialData,)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterable[Hit]:
        """Look at log-ins: the weak side is the local service, else the local client."""
        assert isinstance(record, Event) and isinstance(record.data, CredentialData)
        data, src, dst = record.data, record.src, record.dst
        if src is None or dst is None:
            return
        local = dst if site.is_local(dst) else src
        yield Hit(
            rule="login.cleartext",
            key=f"{who(local)} {who(dst)} {data.protocol}",
            title=f"{data.protocol} password in clear text to {dst.ip or dst.mac}",
            reason=f"{src.ip or src.mac} logs in at {where(dst)} by {data.protocol} without encryption",
            device=local.device,
            target=dst.device if local is src else "",
            src=src,
            dst=dst,
            first=record.time,
            artifacts=(FindingArtifact(name="protocol", value=data.protocol, record=record.uid),),
        )
