"""Floods: more packets or connections than a service can take, with nothing coming back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from thingward.detection.flows import ACK, GRE, ICMP, ICMPV6, SYN, TCP, UDP, is_first_report, packet_rate_hz
from thingward.detection.knowledge import SiteKnowledge, is_group
from thingward.detection.rule import Hit, RuleInfo, WindowRule, who
from thingward.detection.thresholds import Thresholds
from thingward.detection.window import Seen, SumWindow
from thingward.model.device import Device
from thingward.model.event import Event
from thingward.model.observation import Endpoint, FlowData, where


def _info(rule: str, title: str, confidence: float, *attack: str, severity: int = 4) -> RuleInfo:
    return RuleInfo(
        id=rule,
        title=title,
        severity=severity,
        confidence=confidence,
        attack=(*attack, "T0814"),
        suggested=("quarantine",),
    )


class Flood(WindowRule):
    """Adds up what one source sends to one target: connection attempts, UDP and ICMP packets."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (
        _info("flood.syn", "SYN flood", 0.85, "T1498.001", "T1499.001"),
        _info("flood.tcp", "TCP flood", 0.8, "T1498.001", "T1499.001"),
        _info("flood.udp", "UDP flood", 0.75, "T1498.001"),
        _info("flood.icmp", "ICMP flood", 0.8, "T1498.001"),
        _info("flood.other", "Flood of GRE or other IP packets", 0.8, "T1498.001"),
    )
    takes: ClassVar[tuple[type, ...]] = (FlowData,)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()
        self._t = thresholds
        self._packets = SumWindow(thresholds.flood_span_s)
        self._replies = SumWindow(thresholds.flood_span_s)
        self.windows = {"packets": self._packets, "replies": self._replies}

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterable[Hit]:
        """Look at flow reports. A report over a long time counts by its average rate."""
        assert isinstance(record, Event) and isinstance(record.data, FlowData)
        data, src, dst = record.data, record.src, record.dst
        if src is None or dst is None or is_group(dst):
            return ()
        if data.proto == TCP:
            return self._look_tcp(record, data, src, dst, site)
        if data.proto == UDP:
            return self._look_udp(record, data, src, dst, site)
        if data.proto in (ICMP, ICMPV6):
            sent, replies = self._sums("icmp", data, src, dst)
            if sent.count >= self._t.flood_icmp_packets:
                return (self._hit("flood.icmp", record, src, dst, site, sent, replies, "ICMP packets"),)
            return ()
        return self._look_other(record, data, src, dst, site) if data.proto >= 0 else ()

    def _look_other(
        self, record: Event, data: FlowData, src: Endpoint, dst: Endpoint, site: SiteKnowledge
    ) -> Iterable[Hit]:
        """Look at what is neither TCP, UDP nor ICMP: tunnels carry traffic both ways, GRE floods do not."""
        sent, replies = self._sums(f"ip {data.proto}", data, src, dst)
        if sent.count < self._t.flood_other_packets or replies > sent.count * self._t.flood_udp_replies:
            return ()
        what = "GRE packets" if data.proto == GRE else f"packets of IP protocol {data.proto}"
        return (self._hit("flood.other", record, src, dst, site, sent, replies, what),)

    def _look_tcp(
        self, record: Event, data: FlowData, src: Endpoint, dst: Endpoint, site: SiteKnowledge
    ) -> Iterable[Hit]:
        if data.packets_in and not is_first_report(data):
            return ()
        is_half_open = bool(data.flags_out & SYN) and not data.flags_out & ACK
        if is_half_open and not data.packets_in:
            rule, what, amount = "flood.syn", "connection attempts", float(max(data.packets_out, 1))
        elif is_half_open:
            rule, what, amount = "flood.syn", "connection attempts", 1.0
        elif is_first_report(data) and not data.packets_in:
            # One-sided captures are full of such flows, but not of so many new ones.
            rule, what, amount = "flood.tcp", "new TCP flows", 1.0
        else:
            return ()
        sent = self._packets.add(f"{_sender(src)} {who(dst)} {rule} {dst.port}", amount, data.last)
        if sent.count < self._t.flood_syn:
            return ()
        return (self._hit(rule, record, src, dst, site, sent, 0.0, what),)

    def _look_udp(
        self, record: Event, data: FlowData, src: Endpoint, dst: Endpoint, site: SiteKnowledge
    ) -> Iterable[Hit]:
        t = self._t
        mean_bytes = data.bytes_out / data.packets_out if data.packets_out else 0.0
        is_small = mean_bytes <= t.flood_udp_small_bytes
        sent, replies = self._sums("udp small" if is_small else "udp", data, src, dst)
        limit = t.flood_udp_small_packets if is_small else t.flood_udp_packets
        if sent.count < limit or replies > sent.count * t.flood_udp_replies:
            return ()
        return (self._hit("flood.udp", record, src, dst, site, sent, replies, "UDP packets"),)

    def _sums(self, kind: str, data: FlowData, src: Endpoint, dst: Endpoint) -> tuple[Seen, float]:
        share = _share_of(data, self._t.flood_span_s)
        key = f"{_sender(src)} {who(dst)} {kind}"
        sent = self._packets.add(key, data.packets_out * share, data.last)
        replies = self._replies.add(key, data.packets_in * share, data.last)
        return sent, replies.count

    def _hit(
        self,
        rule: str,
        record: Event,
        src: Endpoint,
        dst: Endpoint,
        site: SiteKnowledge,
        sent: Seen,
        replies: float,
        what: str,
    ) -> Hit:
        reason = f"{sent.count:.0f} {what} to {where(dst)} within {self._t.flood_span_s:.0f} s, {replies:.0f} came back"
        severity = 0 if site.is_local(src) else 3
        return _hit(rule, record, (src, dst), sent, key=f"{_sender(src)} {who(dst)}", reason=reason, severity=severity)


class MqttFlood(WindowRule):
    """Adds up what one client sends to a broker, and the connections that it opens."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (
        _info("mqtt.flood", "MQTT flood", 0.7, "T1499.002", severity=3),
        _info("mqtt.connections", "Too many connections to a broker", 0.8, "T1499.002"),
    )
    takes: ClassVar[tuple[type, ...]] = (FlowData,)
    ports: ClassVar[frozenset[int]] = frozenset({1883, 8883})

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()
        self._t = thresholds
        self._packets = SumWindow(thresholds.mqtt_flood_span_s)
        self._bytes = SumWindow(thresholds.mqtt_flood_span_s)
        self._opened = SumWindow(thresholds.mqtt_connections_span_s)
        self.windows = {"packets": self._packets, "bytes": self._bytes, "opened": self._opened}

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterable[Hit]:
        """Look at the flows to a broker."""
        assert isinstance(record, Event) and isinstance(record.data, FlowData)
        data, src, dst = record.data, record.src, record.dst
        if src is None or dst is None or data.proto != TCP or (data.mid_stream and not data.app):
            return
        if data.app != "mqtt" and dst.port not in self.ports:
            return
        t, key = self._t, f"{who(src)} {who(dst)}"
        share = _share_of(data, t.mqtt_flood_span_s)
        packets = self._packets.add(key, data.packets_out * share, data.last)
        volume = self._bytes.add(key, data.bytes_out * share, data.last)
        if packets.count >= t.mqtt_flood_packets or volume.count >= t.mqtt_flood_bytes:
            reason = (
                f"{packets.count:.0f} packets and {volume.count / 1000:.0f} kB to {where(dst)} "
                f"within {t.mqtt_flood_span_s:.0f} s ({packet_rate_hz(data):.0f} packets/s in this flow)"
            )
            verb = "floods the broker"
            yield _hit("mqtt.flood", record, (src, dst), packets, key=key, reason=reason, verb=verb)
        if is_first_report(data) and data.flags_out & SYN:
            opened = self._opened.add(key, 1.0, data.first)
            if opened.count >= t.mqtt_connections:
                reason = f"{opened.count:.0f} connections to {where(dst)} within {t.mqtt_connections_span_s:.0f} s"
                verb = "opens connection after connection to the broker"
                yield _hit("mqtt.connections", record, (src, dst), opened, key=key, reason=reason, verb=verb)


def _hit(
    rule: str,
    record: Event,
    between: tuple[Endpoint, Endpoint],
    seen: Seen,
    *,
    key: str,
    reason: str,
    verb: str = "floods",
    severity: int = 0,
) -> Hit:
    src, dst = between
    return Hit(
        rule=rule,
        key=key,
        title=f"{src.ip or src.mac} {verb} {dst.ip or dst.mac}",
        reason=reason,
        device=src.device,
        target=dst.device,
        src=src,
        dst=dst,
        severity=severity,
        first=min(seen.first, record.time),
        count=int(seen.count),
    )


def _share_of(data: FlowData, span_s: float) -> float:
    """Give the share of a report that falls into one span: all of a short one."""
    return min(1.0, span_s / max(data.last - data.first, 1e-6))


def _sender(endpoint: Endpoint) -> str:
    """Name a sender by what is hard to forge first: senders outside share the gateway's hardware address."""
    return endpoint.device or endpoint.mac or endpoint.ip
