"""Which rules the network should have: worked out anew whenever approvals, addresses, roles or limits change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from thingward.model.action import Action, Approval, EnforcementState, ResponseRule
from thingward.model.device import Device
from thingward.model.flow import Enforce
from thingward.model.principal import SettingValue
from thingward.model.record import Record

#: A state is asked for at most this often, in seconds.
PAUSE_S: Final = 0.5

#: Gives the state of a tenant, under a version; None if nothing was ever asked of the network.
StateOf = Callable[[str, int], EnforcementState | None]


class Desired:
    """Watches what passes and gives the newest state when it differs from the last one."""

    def __init__(self, state_of: StateOf, tenants: Iterable[str]) -> None:
        self._state_of = state_of
        self._due = set(tenants)
        self._next = 0.0
        self._held: dict[str, bytes] = {}

    def watch(self, records: Iterable[Record]) -> None:
        """Note whose state may have changed."""
        for record in records:
            is_limits = isinstance(record, SettingValue) and record.name == "limits"
            if is_limits or isinstance(record, Approval | Device | ResponseRule | Action):
                self._due.add(record.tenant)

    def take(self, now: float, monotonic: float) -> list[Enforce]:
        """Give commands for states that changed; empty within half a second of the last ones."""
        if not self._due or monotonic < self._next:
            return []
        self._next = monotonic + PAUSE_S
        due, self._due = self._due, set()
        commands = []
        for tenant in sorted(due):
            state = self._state_of(tenant, int(now * 1000))
            if state is not None and self._held.get(tenant) != (content := _content(state)):
                self._held[tenant] = content
                commands.append(Enforce(tenant=tenant, state=state))
        return commands


def _content(state: EnforcementState) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(state, version=0), order="deterministic")
