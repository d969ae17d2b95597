"""What is known of a site's network: which addresses are local, who is a router, and what serves whom."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from thingward.model.observation import LeaseData
from thingward.model.terms import address_kind

MAX_ADDRESSES: Final = 4096
RESOLVER_ANSWERS: Final = 3
FOREIGN_ADDRESSES: Final = 3

# Public time services, by the domain that they and their servers are found under.
TIME_SERVICES: Final = (
    "pool.ntp.org",
    "nist.gov",
    "time.google.com",
    "time.windows.com",
    "time.apple.com",
    "time.cloudflare.com",
    "ntp.ubuntu.com",
    "time.android.com",
    "time.facebook.com",
)


class Holding(msgspec.Struct, kw_only=True):
    """Who held an address that the site needs first, and who claimed it since.

    Attributes:
        since: when its holder was first seen to have it.
        proofs: what else than its own word speaks for the holder (`lease`, `route`), and since when.
        rivals: anchors of others that claimed it, with what speaks for them.
        disputed_at: time of the first such claim, 0 if none.
    """

    anchor: str
    since: float
    proofs: dict[str, float] = {}
    rivals: dict[str, list[str]] = {}
    disputed_at: float = 0.0


class NetworkState(msgspec.Struct, kw_only=True):
    """What a snapshot keeps of the network.

    Attributes:
        roles: address to the roles that it has at this site.
        announced: addresses that a station on the link announced as its own, bounded.
        prefixes: IPv6 /64 prefixes in use on the link, as text.
        answers: answers given by a local resolver that no lease named.
        dhcp_server: the server whose word on roles counts.
        rivals: other servers that handed out addresses: at most eight.
        served_since, rival_at: time of the first word of that server, and of the first rival in its subnet, 0 if none.
        holdings: by address with a role, who holds it.
        advertised: gateway addresses that only a router advertisement named.
        forwarder: anchor of the member that others were first seen to route by, while no gateway was known.
        trusted: anchors of the members that a person called the router.
        is_told: a lease named the resolvers, so none is inferred.
    """

    roles: dict[str, tuple[str, ...]] = {}
    announced: dict[str, float] = {}
    prefixes: list[str] = []
    answers: dict[str, int] = {}
    dhcp_server: str = ""
    rivals: list[str] = []
    served_since: float = 0.0
    rival_at: float = 0.0
    holdings: dict[str, Holding] = {}
    advertised: list[str] = []
    forwarder: str = ""
    trusted: list[str] = []
    is_told: bool = False


class Network:
    """Locality and roles; `forget` is called whenever an earlier conclusion about an address may be wrong now."""

    def __init__(self, networks: Sequence[str], forget: Callable[[], None]) -> None:
        self._configured = tuple(ipaddress.ip_network(text, strict=False) for text in networks)
        self.state = NetworkState()
        self._forget = forget
        self._subnets: set[str] = set()

    def restore(self, state: NetworkState) -> None:
        """Take a state from a snapshot."""
        self.state = state
        self._subnets = {subnet_of(ip) for ip in state.announced}
        self._forget()

    def is_local(self, ip: str) -> bool:
        """Tell whether an address belongs to the site."""
        if address_kind(ip) == "private" or ip in self.state.announced:
            return True
        if ":" in ip and self.state.prefixes and prefix_of(ip) in self.state.prefixes:
            return True
        return bool(self._configured) and _inside(ip, self._configured)

    def announce(self, ip: str, mac: str, time: float) -> None:
        """Note that a station announced this address as its own on the link."""
        announced = self.state.announced
        if ip not in announced:
            while len(announced) >= MAX_ADDRESSES:
                announced.pop(next(iter(announced)))
            is_public = address_kind(ip) == "public"
            if is_public or subnet_of(ip) not in self._subnets:
                self._subnets.add(subnet_of(ip))
                self._forget()
            if is_public and ":" in ip:
                self.add_prefix(ip)
        announced[ip] = time

    def add_prefix(self, ip: str) -> None:
        """Note that the /64 of this IPv6 address is in use on the link."""
        prefix = prefix_of(ip)
        if prefix and prefix not in self.state.prefixes and len(self.state.prefixes) < 64:
            self.state.prefixes.append(prefix)
            self._forget()

    def is_own_of_router(self, ip: str) -> bool:
        """Tell whether an address that a router sends from is the router's: announced, or on the link's subnet."""
        if ip in self.state.announced or "gateway" in self.state.roles.get(ip, ()):
            return True
        if address_kind(ip) != "private":
            return False
        return subnet_of(ip) in self._subnets or ip.startswith("fe80:")

    def add_role(self, ip: str, role: str) -> None:
        """Note what an address serves the site as."""
        roles = self.state.roles.get(ip, ())
        if role not in roles and ip and (roles or len(self.state.roles) < MAX_ADDRESSES):
            self.state.roles[ip] = tuple(sorted((*roles, role)))
            self._forget()

    def advertise(self, ip: str) -> None:
        """Note that a router named this address as the gateway's by itself."""
        if "gateway" not in self.state.roles.get(ip, ()) and len(self.state.advertised) < MAX_ADDRESSES:
            self.state.advertised.append(ip)
            self.add_role(ip, "gateway")

    def learn_lease(self, lease: LeaseData, server: str, time: float = 0.0) -> None:
        """Take the roles that the site's DHCP server hands out; a second server's word is not taken."""
        if lease.message not in ("offer", "ack", "advertise", "reply"):
            return
        if not server:
            server = lease.routers[0] if lease.routers else ""
        first = self.state.dhcp_server
        if not first or "gateway" in self.state.roles.get(server, ()):
            self.state.dhcp_server = first or server
            self.state.served_since = self.state.served_since or time
        elif first != server and (":" in first) == (":" in server):
            if server not in self.state.rivals and len(self.state.rivals) < 8:
                self.state.rivals.append(server)
            if subnet_of(first) == subnet_of(server):
                self.state.rival_at = self.state.rival_at or time
            return
        self.add_role(server, "dhcp")
        self.state.is_told = self.state.is_told or bool(lease.resolvers)
        for role, addresses in (
            ("gateway", lease.routers),
            ("dns", lease.resolvers),
            ("ntp", lease.time_servers),
        ):
            for ip in addresses[:8]:
                self.add_role(ip, role)

    def has_dhcp_server(self, ip: str) -> bool:
        """Tell whether a DHCP server is known of this address's kind; while none is, whoever is asked may be one."""
        return any("dhcp" in roles and (":" in known) == (":" in ip) for known, roles in self.state.roles.items())

    def learn_answer(self, server: str, *, is_gateway: bool) -> None:
        """Note that a device of the site answered a DNS query; without a lease that is how resolvers are found."""
        if self.state.is_told or address_kind(server) != "private" or "dns" in self.state.roles.get(server, ()):
            return
        answers = self.state.answers
        if server in answers or len(answers) < MAX_ADDRESSES:
            answers[server] = answers.get(server, 0) + 1
            if is_gateway or answers[server] >= RESOLVER_ANSWERS:
                self.add_role(server, "dns")

    def by_role(self) -> dict[str, tuple[str, ...]]:
        """Give each role's addresses; `ntp` also lists the domains of public time services."""
        found: dict[str, list[str]] = {"dhcp": [], "dns": [], "gateway": [], "ntp": list(TIME_SERVICES)}
        for ip, roles in self.state.roles.items():
            for role in roles:
                found.setdefault(role, []).append(ip)
        return {role: tuple(sorted(addresses)) for role, addresses in found.items()}


def time_service_of(name: str) -> str:
    """Give the domain of the public time service that a DNS name belongs to, empty for any other name."""
    return next((domain for domain in TIME_SERVICES if name == domain or name.endswith("." + domain)), "")


@functools.lru_cache(maxsize=4096)
def prefix_of(ip: str) -> str:
    """Give the /64 of an IPv6 address as text, empty for anything else."""
    if ":" not in ip:
        return ""
    try:
        return str(ipaddress.ip_network(f"{ip.partition('%')[0]}/64", strict=False))
    except ValueError:
        return ""


@functools.lru_cache(maxsize=4096)
def eui64_of(mac: str) -> str:
    """Give the last 64 bits of IPv6 addresses made from a hardware address, as four groups of text."""
    digits = mac.replace(":", "")
    if len(digits) != 12:
        return ""
    full = f"{int(digits[:2], 16) ^ 2:02x}{digits[2:6]}fffe{digits[6:]}"
    return ":".join(f"{int(full[i : i + 4], 16):x}" for i in range(0, 16, 4))


def subnet_of(ip: str) -> str:
    """Give the /24 or /64 that an address is in, as text."""
    return prefix_of(ip) if ":" in ip else ip.rpartition(".")[0]


def _inside(ip: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    return any(address.version == network.version and address in network for network in networks)
