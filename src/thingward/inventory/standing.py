"""Who firmly holds the addresses that a site needs: what protection by role rests on.

Anybody can claim an address. Whoever held it first keeps it; a later claimant gains nothing by its claim, and the
holder loses nothing. Where the first claim was young and nothing else spoke for its holder, nobody is believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from thingward.inventory.evidence import Evidence
from thingward.inventory.members import Member
from thingward.inventory.network import Holding, Network, subnet_of

#: An address held for this long before the first rival claim is firmly held, in seconds.
ESTABLISHED_S: Final = 600.0
#: The same where others already routed by its holder.
ROUTED_S: Final = 60.0
#: Silent for this long, in seconds, a holder is gone: another may take its place (a replaced router).
GONE_S: Final = 86_400.0
#: The same for an address that the site does not need: leases pass on.
QUIET_S: Final = 600.0
MAX_RIVALS: Final = 8
LEASE, ROUTE = "lease", "route"


class Standing:
    """Judges claims to addresses that have a role; its state is part of the network's."""

    def __init__(self, evidence: Evidence, network: Network) -> None:
        self._evidence, self._network = evidence, network

    # -- what was seen -----------------------------------------------------------------------------------------

    def claim(self, ip: str, member: Member, time: float) -> None:
        """Note that a member uses or announces an address; only addresses with a role matter."""
        holding = self._holding(ip)
        if holding is None or holding.anchor == member.anchor:
            return
        holder = self._evidence.members.get(holding.anchor)
        if holder is None or not holder.mac or time - holder.last > GONE_S:
            self._network.state.holdings[ip] = Holding(anchor=member.anchor, since=time)
        elif member.mac and holder.record != member.record:
            self._oppose(holding, member, time)

    def prove(self, ip: str, member: Member, how: str, time: float) -> None:
        """Note what speaks for a member beside its own word: it answered leases from there, others route by it."""
        holding = self._holding(ip)
        if holding is None:
            return
        if holding.anchor == member.anchor:
            holding.proofs.setdefault(how, time)
        elif member.anchor in holding.rivals and how not in holding.rivals[member.anchor]:
            holding.rivals[member.anchor].append(how)

    def route(self, member: Member, time: float) -> None:
        """Note that another device sent traffic for outside to this member, and was answered."""
        state = self._network.state
        mine = [ip for ip in member.addresses if "gateway" in state.roles.get(ip, ())]
        for ip in mine:
            self.prove(ip, member, ROUTE, time)
        if not mine and not state.forwarder and not any(self._gateway_addresses()):
            state.forwarder = member.anchor

    def lease(self, server_ip: str, member: Member, time: float) -> None:
        """Note that a member answered a request for an address from `server_ip`."""
        if server_ip in self._network.state.roles:
            self.prove(server_ip, member, LEASE, time)

    def trust(self, anchors: list[str], *, is_router: bool) -> None:
        """Take a person's word on who is a router: of those who claim a gateway's address, that one has it."""
        trusted = self._network.state.trusted
        for anchor in anchors:
            if anchor in trusted and not is_router:
                trusted.remove(anchor)
            elif is_router and anchor not in trusted and len(trusted) < 64:
                trusted.append(anchor)

    # -- what follows ------------------------------------------------------------------------------------------

    def speaks_for(self, ip: str, member: Member) -> bool:
        """Tell whether a member's word from this address counts: nobody else holds the address."""
        holding = self._holding(ip)
        return holding is None or self._is_of(holding.anchor, [member]) or self.owner(ip) == member.anchor

    def may_route(self, member: Member) -> bool:
        """Tell whether a member may become a gateway by its own word: it is one, or none is known."""
        return self.is_gateway([member]) or not (self._network.state.forwarder or any(self._gateway_addresses()))

    def is_gateway(self, members: list[Member]) -> bool:
        """Tell whether these members, one device, are firmly a gateway of the site."""
        state = self._network.state
        mine = [ip for ip in self._roles_of(members, "gateway") if self._is_owner(ip, members)]
        if any(not self._is_only_advertised(ip) for ip in mine):
            return True
        if not mine and state.forwarder not in {member.anchor for member in members}:
            return False
        return not any(
            not self._is_only_advertised(ip) and (owner := self.owner(ip)) and not self._is_of(owner, members)
            for ip in self._gateway_addresses()
        )

    def role_of(self, members: list[Member]) -> str:
        """Give the role that one device firmly has; `disputed` where two claim it and nothing tells whose it is."""
        if self.is_gateway(members):
            return "gateway"
        roles = self._network.state.roles
        held = [ip for ip in self._roles_of(members) if self._is_owner(ip, members)]
        found = {role for ip in held for role in roles[ip]} - {"gateway"}
        if "dns" in found:
            return "resolver"
        if any({"gateway", "dns"} & {*roles[ip]} and not self.owner(ip) for ip in self._roles_of(members)):
            return "disputed"
        return "server" if found else ""

    def contested(self, members: list[Member]) -> dict[str, str]:
        """Give the addresses that one device claims and does not firmly hold, with the rightful anchor where known."""
        found: dict[str, str] = {}
        for member in members:
            for ip in member.addresses:
                if ip in self._network.state.roles:
                    if not self._is_owner(ip, members):
                        found[ip] = self.owner(ip)
                elif (holder := self._evidence.holder_of(ip, member, QUIET_S)) is not member and (
                    holder.record != member.record
                ):
                    found[ip] = holder.anchor
        return found

    def owner(self, ip: str) -> str:
        """Give the anchor of the member that firmly holds an address with a role; empty if nobody does."""
        holding = self._holding(ip)
        if holding is None:
            return ""
        for member in self._trusted():
            if ip in member.addresses:
                return member.anchor
        holder = self._evidence.members.get(holding.anchor)
        if holder is None:
            return ""
        rivals = [proofs for anchor, proofs in holding.rivals.items() if self._is_rival(anchor, holder)]
        if rivals and not _was_settled(holding) and len(holding.proofs) <= max(len(proofs) for proofs in rivals):
            return ""
        return holding.anchor if self._is_told(ip, holding) else ""

    # -- parts -------------------------------------------------------------------------------------------------

    def _holding(self, ip: str) -> Holding | None:
        state = self._network.state
        if ip not in state.roles:
            return None
        held = state.holdings.get(ip)
        if held is not None and held.anchor in self._evidence.members:
            return held
        claims = [member for member in self._evidence.members.values() if ip in member.addresses]
        if not claims:
            return None
        claims.sort(key=lambda member: (not member.mac, member.addresses[ip].first, member.number))
        first = claims[0]
        held = state.holdings[ip] = Holding(anchor=first.anchor, since=first.addresses[ip].first)
        for member in claims[1:]:
            if member.mac and member.record != first.record:
                self._oppose(held, member, member.addresses[ip].first)
        return held

    @staticmethod
    def _oppose(holding: Holding, member: Member, time: float) -> None:
        if member.anchor not in holding.rivals and len(holding.rivals) < MAX_RIVALS:
            holding.rivals[member.anchor] = []
        holding.disputed_at = holding.disputed_at or time

    def _is_rival(self, anchor: str, holder: Member) -> bool:
        rival = self._evidence.members.get(anchor)
        return rival is not None and rival.record != holder.record and holder.last - rival.last <= GONE_S

    def _is_told(self, ip: str, holding: Holding) -> bool:
        """Tell whether what was said of an address's role stands: two DHCP servers at once leave it open.

        A router that a person named settles it for its subnet.
        """
        state = self._network.state
        named = {subnet_of(other) for member in self._trusted() for other in self._roles_of([member], "gateway")}
        if subnet_of(ip) in named:
            return "gateway" not in state.roles[ip]
        is_young = bool(state.rival_at) and state.rival_at - state.served_since < ESTABLISHED_S
        if not is_young or subnet_of(ip) != subnet_of(state.dhcp_server):
            return True
        return LEASE in holding.proofs and holding.proofs.get(ROUTE, state.rival_at) < state.rival_at

    def _trusted(self) -> Iterator[Member]:
        members = self._evidence.members
        return (members[anchor] for anchor in self._network.state.trusted if anchor in members)

    def _is_owner(self, ip: str, members: list[Member]) -> bool:
        return self._is_of(self.owner(ip), members)

    def _is_of(self, anchor: str, members: list[Member]) -> bool:
        owner = self._evidence.members.get(anchor)
        return owner is not None and any(owner is one or owner.record == one.record for one in members)

    def _is_only_advertised(self, ip: str) -> bool:
        holding = self._network.state.holdings.get(ip)
        return ip in self._network.state.advertised and (holding is None or not holding.proofs)

    def _roles_of(self, members: list[Member], role: str = "") -> list[str]:
        roles = self._network.state.roles
        return [ip for one in members for ip in one.addresses if ip in roles and (not role or role in roles[ip])]

    def _gateway_addresses(self) -> Iterator[str]:
        return (ip for ip, roles in self._network.state.roles.items() if "gateway" in roles)


def _was_settled(holding: Holding) -> bool:
    """Tell whether it was clear whose an address is before somebody else claimed it; later proofs may be stolen."""
    at, never = holding.disputed_at, float("inf")
    return (
        at - holding.since >= ESTABLISHED_S
        or holding.proofs.get(LEASE, never) < at
        or at - holding.proofs.get(ROUTE, never) >= ROUTED_S
    )
