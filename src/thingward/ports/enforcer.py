"""What may touch the network's rules: quarantine a device, hold approved profiles, give everything back."""

from __future__ import annotations

from typing import Protocol

import msgspec

from thingward.model.action import Action, EnforcementState, Outcome


class EnforcerStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the enforcer holds now.

    Attributes:
        name: `nftables`, `memory`, ...; available: it can act here; `detail` says why not.
        version: of the EnforcementState in force.
        quarantined: MAC or address to seconds left.
        digest: of the ruleset without counters and timeouts.
        devices: uids of the devices whose profiles are in force. refused: packets refused by device uid since the rules
            were first set, `quarantined` for those of shut-out devices.
        skipped: entries that could not be enforced, one plain line each.
    """

    name: str
    available: bool
    version: int = 0
    quarantined: dict[str, float] = {}
    digest: str = ""
    detail: str = ""
    devices: tuple[str, ...] = ()
    refused: dict[str, int] = {}
    skipped: tuple[str, ...] = ()


class Enforcer(Protocol):
    """Every implementation checks the never-block list and the limits itself, once more."""

    async def hold(self, tenant: str, state: EnforcementState) -> Outcome:
        """Make the approved profiles of this state, and nothing else, be in force; idempotent by version."""
        ...

    async def quarantine(self, tenant: str, action: Action) -> Outcome:
        """Shut out the action's macs and addresses for `ttl_s` seconds; the kernel ends it by itself."""
        ...

    async def release(self, tenant: str, action: Action) -> Outcome:
        """Undo a quarantine; the ruleset is then exactly what it was."""
        ...

    async def status(self, tenant: str) -> EnforcerStatus:
        """Tell what is in force."""
        ...

    async def remove_all(self, tenant: str) -> Outcome:
        """Remove everything that was ever set by this platform."""
        ...
