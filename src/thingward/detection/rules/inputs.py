"""What could not be understood, and what other engines say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from thingward.detection.knowledge import SiteKnowledge
from thingward.detection.rule import Hit, RuleInfo, WindowRule, who
from thingward.detection.thresholds import Thresholds
from thingward.detection.window import SumWindow
from thingward.model.device import Device
from thingward.model.event import Event
from thingward.model.finding import FindingArtifact
from thingward.model.observation import AlertData, Endpoint, MqttData, where
from thingward.model.record import Malformed


class MalformedBurst(WindowRule):
    """Counts input that no decoder understands, per sender; MQTT apart, for brokers die of it."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (
        RuleInfo(
            id="mqtt.malformed",
            title="Malformed MQTT",
            severity=3,
            confidence=0.75,
            attack=("T1499.004", "T0814"),
        ),
        RuleInfo(
            id="capture.malformed",
            title="Burst of malformed input",
            severity=2,
            confidence=0.6,
            attack=("T1499.004", "T0814"),
        ),
    )
    takes: ClassVar[tuple[type, ...]] = (Malformed,)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()
        self._t = thresholds
        self._mqtt = SumWindow(thresholds.mqtt_malformed_span_s)
        self._other = SumWindow(thresholds.malformed_span_s)
        self.windows = {"mqtt": self._mqtt, "other": self._other}

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterator[Hit]:
        """Look at malformed input that has a sender."""
        assert isinstance(record, Event) and isinstance(record.data, Malformed)
        data, src = record.data, record.src
        if src is None:
            return
        is_mqtt = data.protocol == "mqtt"
        window, limit = (self._mqtt, self._t.mqtt_malformed) if is_mqtt else (self._other, self._t.malformed_burst)
        seen = window.add(who(src), 1.0, record.time)
        if seen.count < limit:
            return
        what = "MQTT packets" if is_mqtt else "inputs"
        yield Hit(
            rule="mqtt.malformed" if is_mqtt else "capture.malformed",
            key=who(src),
            title=f"{src.ip or src.mac} sends malformed {what}",
            reason=f"{seen.count:.0f} malformed {what} within {window.span_s:.0f} s, last to {where(record.dst)}: "
            f"{data.reason}",
            device=src.device,
            target=record.dst.device if record.dst else "",
            src=src,
            dst=record.dst,
            first=min(seen.first, record.time),
            count=int(seen.count),
        )


class ListensToAll(WindowRule):
    """Says who asks a broker for every message."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (
        RuleInfo(
            id="mqtt.listen_all",
            title="Listens to everything on a broker",
            severity=2,
            confidence=0.7,
            attack=("T1040", "T0801"),
            repeat_s=86_400.0,
        ),
    )
    takes: ClassVar[tuple[type, ...]] = (MqttData,)
    filters: ClassVar[frozenset[str]] = frozenset({"#", "+/#", "$SYS/#"})

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterator[Hit]:
        """Look at subscriptions: dashboards do this too, single-purpose things do not."""
        assert isinstance(record, Event) and isinstance(record.data, MqttData)
        data, src, dst = record.data, record.src, record.dst
        if src is None or dst is None or data.operation != "subscribe" or data.topic not in self.filters:
            return
        yield Hit(
            rule="mqtt.listen_all",
            key=f"{who(src)} {who(dst)}",
            title=f"{src.ip or src.mac} listens to everything on the broker {dst.ip or dst.mac}",
            reason=f"subscription to {data.topic} at {where(dst)}",
            device=src.device,
            target=dst.device,
            src=src,
            dst=dst,
            first=record.time,
        )


class ExternalAlert(WindowRule):
    """Takes over what Suricata, Zeek or another engine found, with its own severity."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (
        RuleInfo(
            id="external.alert",
            title="Alert of another engine",
            severity=3,
            confidence=0.6,
            repeat_s=3600.0,
        ),
    )
    takes: ClassVar[tuple[type, ...]] = (AlertData,)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterator[Hit]:
        """Look at alerts; the device is the local side that acts, else the local side that is acted on."""
        assert isinstance(record, Event) and isinstance(record.data, AlertData)
        data, src, dst = record.data, record.src, record.dst
        ours = src if src is not None and site.is_local(src) else dst
        device, target = (ours.device if ours else ""), (dst.device if dst else "")
        signature = data.signature_id or data.signature
        yield Hit(
            rule="external.alert",
            key=f"{who(src or Endpoint())} {who(dst or Endpoint())} {signature}",
            title=f"{data.engine}: {data.signature}"[:200],
            reason=f"{data.engine} saw {data.signature or 'something'} from {where(src)} to {where(dst)}"
            f"{f' ({data.category})' if data.category else ''}",
            device=device,
            target=target if target != device else "",
            src=src,
            dst=dst,
            severity=min(max(data.severity, 1), 5),
            first=record.time,
            artifacts=(FindingArtifact(name="signature", value=signature, record=record.uid),),
        )
