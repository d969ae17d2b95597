"""What changes: a profile against the entries that are in force."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from thingward.model.profile import Acl, acl_identity


class AclDiff(msgspec.Struct, frozen=True):
    """Entries that would come, go, or stay; figures of use (flows, times, addresses) do not count as a change."""

    added: tuple[Acl, ...] = ()
    removed: tuple[Acl, ...] = ()
    kept: tuple[Acl, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing would change."""
        return not self.added and not self.removed


def diff_acls(wanted: Iterable[Acl], in_force: Iterable[Acl]) -> AclDiff:
    """Compare the entries of a profile with those in force."""
    new = {acl_identity(acl): acl for acl in wanted}
    old = {acl_identity(acl): acl for acl in in_force}
    return AclDiff(
        added=tuple(new[key] for key in sorted(new.keys() - old.keys())),
        removed=tuple(old[key] for key in sorted(old.keys() - new.keys())),
        kept=tuple(new[key] for key in sorted(new.keys() & old.keys())),
    )
