"""The site itself: what is reachable from outside, who is new or unknown, who lies about addresses."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import msgspec

from thingward.detection.flows import TCP, UDP, is_answered, is_attempt
from thingward.detection.knowledge import SiteKnowledge, is_group
from thingward.detection.rule import Hit, RuleInfo, WindowRule, who
from thingward.detection.thresholds import Thresholds
from thingward.detection.window import DistinctWindow, SumWindow
from thingward.model.device import Device
from thingward.model.errors import InvalidInput
from thingward.model.event import Event
from thingward.model.observation import Endpoint, FlowData, HttpData, IdentityData, LeaseData, where

# Log-in and control services: nobody outside should reach them.
CONTROL_PORTS = frozenset(
    {21, 22, 23, 80, 102, 445, 502, 554, 1883, 2222, 2323, 3306, 3389, 5432, 5555, 5900, 6379, 7547, 8000, 8080, 8081}
    | {8554, 8888, 9200, 20000, 37777, 44818, 47808}
)
# UDP services whose first packet tells the direction: others are left alone, for there the initiator is a guess.
UDP_SERVICES = frozenset({53, 69, 111, 123, 137, 161, 389, 500, 1900, 3702, 5060, 5353, 5683, 11211, 47808})
PORT_MAPPING = 5351
FTP_DATA = 20
MAX_CLAIMS = 20_000
MAX_PENDING = 10_000


class Reachable(WindowRule):
    """Says which devices answer to strangers from outside, and who asks the router to open ports."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (
        RuleInfo(
            id="exposure.reachable",
            title="Reachable from outside",
            severity=3,
            confidence=0.85,
            attack=("T1133", "T0883"),
            class_uid=2002,
            repeat_s=86_400.0,
        ),
        RuleInfo(
            id="exposure.port_mapping",
            title="Asks the router to open a port",
            severity=2,
            confidence=0.7,
            attack=("T1133",),
            class_uid=2002,
            repeat_s=86_400.0,
        ),
    )
    takes: ClassVar[tuple[type, ...]] = (FlowData, HttpData)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()
        self._settle_s = thresholds.reach_settle_s
        self._contacts = DistinctWindow(thresholds.reach_contact_s)
        self.windows = {"contacts": self._contacts}

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterable[Hit]:
        """Look at connections from outside that were answered, and at requests for port mappings."""
        assert isinstance(record, Event)
        data, src, dst = record.data, record.src, record.dst
        if src is None or dst is None or is_group(dst):
            return
        if isinstance(data, HttpData):
            path = data.path.lower()
            if data.method == "POST" and ("wanip" in path or "wanppp" in path or "ipconn" in path):
                yield self._mapping(record, src, dst, "UPnP")
            return
        assert isinstance(data, FlowData)
        if data.proto == UDP and dst.port == PORT_MAPPING and site.is_local(dst):
            yield self._mapping(record, src, dst, "NAT-PMP or PCP")
        elif site.is_local(dst) != site.is_local(src):
            if site.is_local(src):
                self._contacts.add(who(src), dst.ip, data.first)
            elif self._is_reached(data, src, dst, site):
                yield self._reached(record, data, src, dst)

    def _is_reached(self, data: FlowData, src: Endpoint, dst: Endpoint, site: SiteKnowledge) -> bool:
        if data.mid_stream or not is_attempt(data) or not is_answered(data):
            return False
        if self._contacts.has(who(dst), src.ip) or src.port == FTP_DATA:
            # The device called that host itself: this is the way back.
            return False
        if data.proto == TCP:
            return True
        is_settled = data.first >= site.started + self._settle_s
        return data.proto == UDP and dst.port in UDP_SERVICES and src.port >= 1024 and is_settled

    def _reached(self, record: Event, data: FlowData, src: Endpoint, dst: Endpoint) -> Hit:
        proto = "tcp" if data.proto == TCP else "udp"
        return Hit(
            rule="exposure.reachable",
            key=f"{who(dst)} {proto} {dst.port}",
            title=f"{dst.ip} answers on {proto}/{dst.port} to hosts outside the site",
            reason=f"{src.ip} opened {proto}/{dst.port} at {dst.ip} and was answered "
            f"({data.packets_out} packets in, {data.packets_in} out)",
            device=dst.device,
            target=dst.device,
            src=src,
            dst=dst,
            severity=4 if dst.port in CONTROL_PORTS else 0,
            first=data.first,
        )

    def _mapping(self, record: Event, src: Endpoint, dst: Endpoint, protocol: str) -> Hit:
        return Hit(
            rule="exposure.port_mapping",
            key=f"{who(src)} {protocol}",
            title=f"{src.ip or src.mac} controls port mappings of the router",
            reason=f"{protocol} request to {where(dst)}: it can open ports to the outside",
            device=src.device,
            src=src,
            dst=dst,
            first=record.time,
        )


class Newcomers(WindowRule):
    """Says which devices came late, and which nobody can identify."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (
        RuleInfo(id="device.new", title="New device", severity=2, confidence=0.9, attack=("T1200", "T0847")),
        RuleInfo(id="device.unidentified", title="Unidentified device", severity=1, confidence=0.9, repeat_s=86_400.0),
    )
    takes: ClassVar[tuple[type, ...]] = (Device,)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()
        self._new_after_s = thresholds.new_device_after_s
        self._unknown_after_s = thresholds.unidentified_after_s
        self._known: OrderedDict[str, bool] = OrderedDict()
        self._pending: dict[str, Device] = {}

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterator[Hit]:
        """Look at device records; groups (broadcast, multicast) are none."""
        assert isinstance(record, Device)
        if record.group:
            return
        if record.uid not in self._known:
            self._known[record.uid] = True
            if len(self._known) > MAX_CLAIMS:
                self._known.popitem(last=False)
            if site.started and record.first_seen - site.started >= self._new_after_s:
                yield self._hit("device.new", record, "was not seen here before", 1 if record.randomised else 0)
        if record.identified:
            self._pending.pop(record.uid, None)
        elif record.uid in self._pending or len(self._pending) < MAX_PENDING:
            self._pending[record.uid] = record
        yield from self._unknown(max(site.newest, record.last_seen))

    def tick(self, now: float, site: SiteKnowledge) -> Iterator[Hit]:
        """Report devices that stayed unidentified."""
        yield from self._unknown(now)

    def _unknown(self, now: float) -> Iterator[Hit]:
        ripe = [d for d in self._pending.values() if now - d.first_seen >= self._unknown_after_s]
        for device in ripe:
            del self._pending[device.uid]
            waited_s = self._unknown_after_s
            yield self._hit("device.unidentified", device, f"nothing said what it is within {waited_s:.0f} s", 0)

    def _hit(self, rule: str, device: Device, what: str, severity: int) -> Hit:
        address = device.addresses[0] if device.addresses else ""
        mac = device.macs[0] if device.macs else ""
        name = device.label or (device.names[0] if device.names else "") or address or mac
        title = "New device" if rule == "device.new" else "Unidentified device"
        return Hit(
            rule=rule,
            key=device.uid,
            title=f"{title} {name}",
            reason=f"{name} ({mac or 'no hardware address'}, {address or 'no address'}) {what}",
            device=device.uid,
            src=Endpoint(mac=mac, ip=address, device=device.uid),
            severity=severity,
            first=device.first_seen,
        )

    def state(self) -> object:
        """Give the devices known and pending."""
        return msgspec.to_builtins({"known": list(self._known), "pending": list(self._pending.values())})

    def load(self, state: Any) -> None:
        """Take what `state` gave."""
        try:
            self._known = OrderedDict.fromkeys(msgspec.convert(state["known"], list[str]), True)
            self._pending = {d.uid: d for d in msgspec.convert(state["pending"], list[Device])}
        except (msgspec.ValidationError, KeyError, TypeError) as error:
            raise InvalidInput(f"not a state of device rules: {error}") from error


class _Claim(msgspec.Struct, frozen=True):
    """Who last said that an address is its own."""

    mac: str
    device: str
    time: float


class AddressClaims(WindowRule):
    """Watches who claims which address by ARP, and who hands out leases."""

    infos: ClassVar[tuple[RuleInfo, ...]] = (
        RuleInfo(
            id="arp.spoof",
            title="Address claimed by two devices",
            severity=3,
            confidence=0.65,
            attack=("T1557.002", "T0830"),
        ),
        RuleInfo(
            id="dhcp.rogue",
            title="Second DHCP server",
            severity=3,
            confidence=0.6,
            attack=("T1557.003", "T0830"),
            repeat_s=86_400.0,
        ),
    )
    takes: ClassVar[tuple[type, ...]] = (IdentityData, LeaseData)

    def __init__(self, thresholds: Thresholds) -> None:
        super().__init__()
        self._t = thresholds
        self._changes = SumWindow(thresholds.arp_flap_span_s)
        self._servers = DistinctWindow(thresholds.dhcp_span_s, max_items=16)
        self.windows = {"changes": self._changes, "servers": self._servers}
        self._claims: OrderedDict[str, _Claim] = OrderedDict()

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterator[Hit]:
        """Look at ARP claims and DHCP answers."""
        assert isinstance(record, Event)
        if isinstance(record.data, LeaseData):
            yield from self._look_lease(record, record.data)
        elif isinstance(record.data, IdentityData) and record.data.protocol == "arp" and record.src is not None:
            yield from self._look_claim(record, record.src, site)

    def _look_lease(self, record: Event, data: LeaseData) -> Iterator[Hit]:
        """Two servers that answer one client at once stand in one network; several networks have a server each."""
        client, server = record.src, record.dst
        if data.message not in ("offer", "ack") or client is None or server is None or not server.ip:
            return
        if is_group(server) or not (client.mac or client.ip):
            return
        seen = self._servers.add(client.mac or client.ip, server.ip, record.time)
        if seen.count >= 2:
            yield Hit(
                rule="dhcp.rogue",
                key=server.ip,
                title=f"{server.ip} hands out addresses beside another DHCP server",
                reason=f"{seen.count:.0f} DHCP servers answered {client.mac or client.ip} within "
                f"{self._t.dhcp_span_s:.0f} s, last {server.ip} {server.mac}".rstrip(),
                device=server.device,
                src=server,
                dst=client,
                first=seen.first,
            )

    def _look_claim(self, record: Event, src: Endpoint, site: SiteKnowledge) -> Iterator[Hit]:
        if not src.ip or not src.mac or src.ip == "0.0.0.0":
            return
        old = self._claims.pop(src.ip, None)
        self._claims[src.ip] = _Claim(src.mac, src.device, record.time)
        if len(self._claims) > MAX_CLAIMS:
            self._claims.popitem(last=False)
        if old is None or old.mac == src.mac or (old.device and old.device == src.device):
            return
        changes = self._changes.add(src.ip, 1.0, record.time)
        owner = next((g for g in site.gateways() if src.ip in g.addresses), None)
        takes_gateway = owner is not None and src.mac not in owner.macs and old.mac in owner.macs
        if changes.count >= 2 or (takes_gateway and record.time - old.time <= self._t.arp_flap_span_s):
            yield self._spoof(record, src, old, takes_gateway)

    def _spoof(self, record: Event, src: Endpoint, old: _Claim, takes_gateway: bool) -> Hit:
        what = "the gateway's address " if takes_gateway else ""
        return Hit(
            rule="arp.spoof",
            key=src.ip,
            title=f"{src.mac} claims {what}{src.ip}, which {old.mac} claims too",
            reason=f"{old.mac} claimed {src.ip} {max(record.time - old.time, 0):.1f} s earlier",
            device=src.device,
            target=old.device,
            src=src,
            dst=Endpoint(mac=old.mac, ip=src.ip, device=old.device),
            severity=4 if takes_gateway else 0,
            confidence=0.85 if takes_gateway else -1.0,
            first=min(old.time, record.time),
            count=2,
        )

    def state(self) -> object:
        """Give windows and claims."""
        windows = {name: window.state() for name, window in self.windows.items()}
        return {"windows": windows, "claims": msgspec.to_builtins(self._claims)}

    def load(self, state: Any) -> None:
        """Take what `state` gave."""
        try:
            super().load(state["windows"])
            self._claims = OrderedDict(msgspec.convert(state["claims"], dict[str, _Claim]))
        except (msgspec.ValidationError, KeyError, TypeError) as error:
            raise InvalidInput(f"not a state of address rules: {error}") from error
