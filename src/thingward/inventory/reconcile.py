"""Which members are one device: a pure function of their evidence, whatever order it came in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from thingward.inventory.firm import conflict
from thingward.inventory.members import Member, overlap


class Cluster(msgspec.Struct):
    """Members that are one device.

    Attributes:
        reasons: firm evidence that joined them. against: what kept others that share evidence apart.
    """

    members: list[Member]
    reasons: list[str] = []
    against: list[str] = []

    def lead(self) -> Member:
        """Give the member that was met first: it names the record."""
        return min(self.members, key=lambda member: member.number)


def partition(members: Iterable[Member], forced: Mapping[str, str]) -> list[Cluster]:
    """Split members that are linked by firm evidence into devices.

    Members are taken by time of first activity; each joins the first cluster with which it shares firm evidence and
    none of whose members speaks against it: active at the same time, conflicting evidence, or a second address
    that is not randomised.

    Args:
        forced: anchor to the anchor of the member that a person said it is the same as.
    """
    clusters: list[Cluster] = []
    for member in sorted(members, key=lambda member: (member.first, member.anchor)):
        joined = False
        for cluster in clusters:
            shared = _shared(member, cluster, forced)
            if not shared:
                continue
            objection = "" if shared.startswith("person:") else _objection(member, cluster)
            if objection:
                note = f"{member.mac or member.anchor} shares {shared} but {objection}"
                cluster.against.append(note)
                continue
            cluster.members.append(member)
            cluster.reasons.append(f"{member.mac or member.anchor} joined by {shared}")
            joined = True
            break
        if not joined:
            clusters.append(Cluster([member]))
    return clusters


def _shared(member: Member, cluster: Cluster, forced: Mapping[str, str]) -> str:
    for other in cluster.members:
        if forced.get(member.anchor) == other.anchor or forced.get(other.anchor) == member.anchor:
            return "person: said to be the same"
    mine = set(member.keys)
    common = {key for other in cluster.members for key in other.keys if key in mine}
    return min(common) if common else ""


def _objection(member: Member, cluster: Cluster) -> str:
    if not member.is_randomised and any(not other.is_randomised for other in cluster.members):
        return "both addresses are the makers' own"
    for other in cluster.members:
        if overlap(member, other):
            return f"{other.mac or other.anchor} was active at the same time"
        if reason := conflict(member, other):
            return reason
    return ""
