"""The site itself: what is reachable from outside, who is new or unknown, who lies about addresses."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import msgspec

from thingward.detection.flows import TCP, UDP, is_answered, is_attempt
from thingward.detection.knowledge import KnownDevice, SiteKnowledge, is_group
from thingward.detection.rule import Hit, RuleInfo, WindowRule, who
from thingward.detection.thresholds import Thresholds
from thingward.detection.window import DistinctWindow
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
#: Whoever held an address for this long before another claimed it is taken to be its holder, in seconds.
SETTLED_S = 600.0
_CLAIMING = frozenset({"arp", "ndp"})
_UNSPECIFIED = frozenset({"0.0.0.0", "::"})
_NEEDED = frozenset({"gateway", "dns", "dhcp"})
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
        """Look at device records; groups (broadcast, multicast) are none, nor what turned out to be part of another."""
        assert isinstance(record, Device)
        if record.group or record.merged_into:
            self._pending.pop(record.uid, None)
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


class _Claim(msgspec.Struct, omit_defaults=True):
    """Who claimed an address first and still does, and who claimed it since.

    Attributes:
        first, time: its holder's first and latest claim.
        needed: the site needs the address (its gateway, resolver or DHCP server has it).
        proven: the holder answered DHCP requests from there.
        announced: the holder said so itself: a router may answer DHCP with another hardware address than ARP.
        rival, rival_device, rival_time: the latest other claimant.
    """

    mac: str
    device: str
    time: float
    first: float = 0.0
    needed: bool = False
    proven: bool = False
    announced: bool = True
    rival: str = ""
    rival_device: str = ""
    rival_time: float = 0.0


class AddressClaims(WindowRule):
    """Watches who claims which address, and who hands out leases."""

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
        self._servers = DistinctWindow(thresholds.dhcp_span_s, max_items=16)
        self.windows = {"servers": self._servers}
        self._claims: OrderedDict[str, _Claim] = OrderedDict()

    def look(self, record: Event | Device, site: SiteKnowledge) -> Iterator[Hit]:
        """Look at claims by ARP and neighbour discovery, and at DHCP answers."""
        assert isinstance(record, Event)
        if isinstance(record.data, LeaseData):
            self._learn_lease(record, record.data)
            yield from self._look_lease(record, record.data)
        elif isinstance(record.data, IdentityData) and record.data.protocol in _CLAIMING and record.src is not None:
            yield from self._look_claim(record, record.src, site)

    def _learn_lease(self, record: Event, data: LeaseData) -> None:
        """Take what a lease says of addresses: its server holds its own, its client the one that it gives."""
        client, server = record.src, record.dst
        if data.message not in ("offer", "ack") or client is None or server is None:
            return
        if server.ip and server.mac and not is_group(server):
            held = self._claims.get(server.ip)
            if held is None:
                held = self._keep(
                    server.ip, _Claim(server.mac, server.device, record.time, record.time, announced=False)
                )
            if held.mac == server.mac:
                held.needed = held.proven = True
                held.time = max(held.time, record.time)
        held = self._claims.get(data.address)
        if data.message == "ack" and held is not None and not held.needed and client.mac not in ("", held.mac):
            self._keep(data.address, _Claim(client.mac, client.device, record.time, record.time))

    def _keep(self, ip: str, claim: _Claim) -> _Claim:
        self._claims.pop(ip, None)
        self._claims[ip] = claim
        if len(self._claims) > MAX_CLAIMS:
            self._claims.popitem(last=False)
        return claim

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
        """Compare with who claimed the address first: that one is believed as long as it is there."""
        if not src.ip or not src.mac or src.ip in _UNSPECIFIED:
            return
        held = self._claims.get(src.ip)
        if held is None or self._has_passed_on(held, src, record.time):
            held = self._keep(src.ip, _Claim(src.mac, src.device, record.time, record.time))
        held.needed = held.needed or not _NEEDED.isdisjoint(src.roles)
        if src.mac == held.mac or (src.device and src.device == held.device):
            held.time, held.announced = max(held.time, record.time), True
            if held.rival and record.time - held.rival_time <= self._t.arp_flap_span_s:
                liar = Endpoint(mac=held.rival, ip=src.ip, device=held.rival_device)
                yield self._spoof(record, liar, held, site)
                held.rival = ""
            return
        held.rival, held.rival_device, held.rival_time = src.mac, src.device, record.time
        if held.announced and (held.needed or self._gateway_of(src.ip, site) is not None):
            yield self._spoof(record, src, held, site)

    def _has_passed_on(self, held: _Claim, src: Endpoint, time: float) -> bool:
        """Tell whether the holder was silent for so long that another may have the address by now."""
        return src.mac != held.mac and time - held.time > self._t.arp_flap_span_s

    @staticmethod
    def _gateway_of(ip: str, site: SiteKnowledge) -> KnownDevice | None:
        return next((known for known in site.gateways() if ip in known.addresses), None)

    def _spoof(self, record: Event, liar: Endpoint, held: _Claim, site: SiteKnowledge) -> Hit:
        gateway = self._gateway_of(liar.ip, site)
        needed = held.needed or gateway is not None
        settled = held.proven or held.rival_time - held.first >= SETTLED_S or (gateway and held.mac in gateway.macs)
        what = "an address that the site needs, " if needed else ""
        return Hit(
            rule="arp.spoof",
            key=f"{liar.ip} {liar.device or liar.mac}",
            title=f"{liar.mac} claims {what}{liar.ip}, which {held.mac} holds",
            reason=f"{held.mac} claimed {liar.ip} {max(held.rival_time - held.first, 0):.1f} s before {liar.mac} did"
            + ("" if settled else "; neither had held it for long, so it may be the other way round"),
            device=liar.device,
            target=held.device,
            src=liar,
            dst=Endpoint(mac=held.mac, ip=liar.ip, device=held.device),
            severity=4 if needed else 0,
            confidence=0.85 if needed and settled else -1.0,
            first=min(held.time, held.rival_time, record.time),
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
