"""Scans: many ports of one host, one port of many hosts, many addresses asked for by ARP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from thingward.detection.flows import ICMP, ICMPV6, REPLY_PORTS, TCP, UDP, is_attempt, is_first_report, is_unanswered
from thingward.detection.knowledge import SiteKnowledge, is_group
from thingward.detection.rule import Hit, RuleInfo, WindowRule, who
from thingward.detection.thresholds import Thresholds
from thingward.detection.window import DistinctWindow, Seen
from thingward.model.device import Device
from thingward.model.event import Event
from thingward.model.observation import Endpoint, FlowData, IdentityData

# Where worms of the Mirai family knock: telnet, its second port, and the ports of its early variants' exploits
# (TR-069, ADB, UPnP SOAP of two chip sets, a botnet's own control port).
WORM_PORTS = frozenset({23, 2323, 23231, 7547, 5555, 5358, 37215, 52869, 48101, 6789, 5500})
SSH_PORTS = frozenset({22, 2222})
# Ports on which honest devices meet many hosts: only attempts that fail count there.
BUSY_PORTS = frozenset({53, 80, 123, 443, 853, 1883, 3478, 5222, 5223, 5228, 8080, 8443, 8883})
# Requests: echo, timestamp, information, address mask; echo in ICMPv6.
_ASKING = {ICMP: frozenset({8, 13, 15, 17}), ICMPV6: frozenset({128})}


class PortScan(WindowRule):
    """Counts the different ports of one host that one source tries."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (
        RuleInfo(
            id="scan.ports",
            title="Port scan",
            severity=4,
            confidence=0.85,
            attack=("T1046", "T0846"),
            suggested=("quarantine",),
        ),
    )
    takes: ClassVar[tuple[type, ...]] = (FlowData,)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()
        self._t = thresholds
        self._fast = DistinctWindow(thresholds.scan_ports_span_s)
        self._slow = DistinctWindow(thresholds.scan_ports_slow_span_s)
        self._udp = DistinctWindow(thresholds.scan_ports_span_s)
        self.windows = {"fast": self._fast, "slow": self._slow, "udp": self._udp}

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterable[Hit]:
        """Look at flow reports; TCP counts at the first report, UDP only when nothing came back."""
        assert isinstance(record, Event) and isinstance(record.data, FlowData)
        data, src, dst = record.data, record.src, record.dst
        if src is None or dst is None or not dst.port or is_group(dst):
            return
        key = f"{who(src)} {dst.ip or dst.mac}"
        if data.proto == TCP:
            if is_first_report(data) and is_attempt(data):
                yield from self._look_tcp(record, data.first, src, dst, key, site)
        elif data.proto == UDP and is_unanswered(data) and is_attempt(data) and _is_asking(src):
            seen = self._udp.add(key, str(dst.port), data.first)
            if seen.count >= self._t.scan_ports_udp and not self._is_flood(data, seen):
                yield self._hit(record, src, dst, site, seen, "UDP", self._t.scan_ports_span_s)

    def _is_flood(self, data: FlowData, seen: Seen) -> bool:
        """Tell whether packets too big for probes come too fast for a scan: a flood of random ports."""
        is_big = data.bytes_out > data.packets_out * self._t.scan_ports_udp_bytes
        return is_big and data.first - seen.first < self._t.scan_ports_udp_min_s

    def _look_tcp(
        self, record: Event, time: float, src: Endpoint, dst: Endpoint, key: str, site: SiteKnowledge
    ) -> Iterator[Hit]:
        seen = self._fast.add(key, str(dst.port), time)
        slow = self._slow.add(key, str(dst.port), time)
        if seen.count >= self._t.scan_ports:
            yield self._hit(record, src, dst, site, seen, "TCP", self._t.scan_ports_span_s)
        elif slow.count >= self._t.scan_ports_slow:
            yield self._hit(record, src, dst, site, slow, "TCP", self._t.scan_ports_slow_span_s)

    def _hit(
        self, record: Event, src: Endpoint, dst: Endpoint, site: SiteKnowledge, seen: Seen, proto: str, span_s: float
    ) -> Hit:
        count = int(seen.count)
        return Hit(
            rule="scan.ports",
            key=f"{who(src)} {who(dst)}",
            title=f"{src.ip or src.mac} scans the ports of {dst.ip or dst.mac}",
            reason=f"{count} different {proto} ports of {dst.ip or dst.mac} within {span_s:.0f} s, last {dst.port}",
            device=src.device,
            target=dst.device,
            src=src,
            dst=dst,
            severity=0 if site.is_local(src) else 2,
            first=seen.first,
            count=count,
        )


class HostScan(WindowRule):
    """Counts the different hosts that one source tries on one port, and the hosts that it pings."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (
        RuleInfo(
            id="scan.hosts",
            title="Network scan",
            severity=4,
            confidence=0.8,
            attack=("T1046", "T1018", "T0846"),
            suggested=("quarantine",),
        ),
    )
    takes: ClassVar[tuple[type, ...]] = (FlowData,)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()
        self._t = thresholds
        self._worm = DistinctWindow(thresholds.scan_worm_span_s)
        self._slow = DistinctWindow(thresholds.scan_worm_slow_span_s)
        self._any = DistinctWindow(thresholds.scan_hosts_span_s)
        self._ping = DistinctWindow(thresholds.scan_hosts_span_s)
        self.windows = {"worm": self._worm, "slow": self._slow, "any": self._any, "ping": self._ping}

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterable[Hit]:
        """Look at flow reports; on busy ports, off site and on UDP only attempts without an answer count."""
        assert isinstance(record, Event) and isinstance(record.data, FlowData)
        data, src, dst = record.data, record.src, record.dst
        if src is None or dst is None or is_group(dst) or not is_attempt(data):
            return ()
        if data.proto == TCP and dst.port:
            return self._look_tcp(record, data, src, dst, site)
        if data.proto == UDP and dst.port:
            return self._look_udp(record, data, src, dst, site)
        if data.icmp_type in _ASKING.get(data.proto, ()) and is_first_report(data):
            seen = self._ping.add(who(src), dst.ip, data.first)
            return self._judge(record, site, seen, self._t.scan_icmp_hosts, self._t.scan_hosts_span_s, "ping", 0.7)
        return ()

    def _look_tcp(
        self, record: Event, data: FlowData, src: Endpoint, dst: Endpoint, site: SiteKnowledge
    ) -> Iterable[Hit]:
        key, host = f"{who(src)} tcp {dst.port}", dst.ip or dst.mac
        t = self._t
        if dst.port in WORM_PORTS:
            if not is_first_report(data):
                return ()
            # One key for all worm ports: Mirai mixes 23 and 2323.
            seen = self._worm.add(f"{who(src)} worm", host, data.first)
            slow = self._slow.add(f"{who(src)} worm", host, data.first)
            hits = self._judge(record, site, seen, t.scan_worm_hosts, t.scan_worm_span_s, f"tcp/{dst.port}", 0.95)
            return hits or self._judge(
                record, site, slow, t.scan_worm_slow_hosts, t.scan_worm_slow_span_s, f"tcp/{dst.port}", 0.9
            )
        busy = dst.port in BUSY_PORTS or (dst.port not in SSH_PORTS and not site.is_local(dst))
        if (busy and not is_unanswered(data)) or (not busy and not is_first_report(data)):
            return ()
        seen = self._any.add(key, host, data.first)
        limit = t.scan_ssh_hosts if dst.port in SSH_PORTS else t.scan_hosts
        return self._judge(record, site, seen, limit, t.scan_hosts_span_s, f"tcp/{dst.port}", 0.75)

    def _look_udp(
        self, record: Event, data: FlowData, src: Endpoint, dst: Endpoint, site: SiteKnowledge
    ) -> Iterable[Hit]:
        if not is_unanswered(data) or not _is_asking(src):
            return ()
        seen = self._any.add(f"{who(src)} udp {dst.port}", dst.ip, data.first)
        return self._judge(record, site, seen, self._t.scan_hosts, self._t.scan_hosts_span_s, f"udp/{dst.port}", 0.7)

    def _judge(
        self, record: Event, site: SiteKnowledge, seen: Seen, limit: int, span_s: float, what: str, confidence: float
    ) -> tuple[Hit, ...]:
        src, dst = record.src, record.dst
        assert src is not None and dst is not None
        if seen.count < limit:
            return ()
        count = int(seen.count)
        return (
            Hit(
                rule="scan.hosts",
                key=f"{who(src)} {'worm' if dst.port in WORM_PORTS else what}",
                title=f"{src.ip or src.mac} scans the network on {what}",
                reason=f"{count} different hosts tried on {what} within {span_s:.0f} s, last {dst.ip or dst.mac}",
                device=src.device,
                target=dst.device,
                src=src,
                dst=dst,
                severity=0 if site.is_local(src) else 2,
                confidence=confidence,
                first=seen.first,
                count=count,
            ),
        )


class ArpScan(WindowRule):
    """Counts the different addresses that one device asks for by ARP."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (
        RuleInfo(
            id="scan.arp",
            title="ARP scan",
            severity=3,
            confidence=0.7,
            attack=("T1018", "T0846"),
        ),
    )
    takes: ClassVar[tuple[type, ...]] = (IdentityData,)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()
        self._t = thresholds
        self._targets = DistinctWindow(thresholds.scan_arp_span_s)
        self.windows = {"targets": self._targets}

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterable[Hit]:
        """Look at ARP requests: the address asked for is the destination's."""
        assert isinstance(record, Event) and isinstance(record.data, IdentityData)
        src, dst = record.src, record.dst
        if record.data.protocol != "arp" or src is None or dst is None or not dst.ip or dst.ip == src.ip:
            return ()
        if site.role(src) == "gateway":
            return ()
        seen = self._targets.add(who(src), dst.ip, record.time)
        if seen.count < self._t.scan_arp_targets:
            return ()
        return (
            Hit(
                rule="scan.arp",
                key=who(src),
                title=f"{src.ip or src.mac} asks for many addresses by ARP",
                reason=f"{seen.count:.0f} different addresses within {self._t.scan_arp_span_s:.0f} s, last {dst.ip}",
                device=src.device,
                src=src,
                dst=dst,
                first=seen.first,
                count=int(seen.count),
            ),
        )


def _is_asking(sender: Endpoint) -> bool:
    """Tell whether a UDP sender's port is a client's: services answer and announce from their own ports."""
    return sender.port >= 1024 and sender.port not in REPLY_PORTS
