"""What the demo says on the terminal while it runs: what turns bad, what is found, what is shut out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from thingward.model.action import Action, ActionKind, ActionState
from thingward.model.device import Device
from thingward.model.finding import Finding
from thingward.model.record import Record

MAX_DEVICES: Final = 1000
_STATES: Final = {
    ActionState.IN_FORCE: "is shut out",
    ActionState.UNDONE: "is let in again",
    ActionState.EXPIRED: "is let in again: its time is over",
    ActionState.REFUSED: "is not shut out",
    ActionState.FAILED: "could not be shut out",
}


class Narrator:
    """Turns records into lines; knows devices by name once it has seen them."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._told: dict[str, str] = {}

    def lines(self, records: Sequence[Record]) -> list[str]:
        """Give what is worth a line."""
        found = []
        for record in records:
            if isinstance(record, Device):
                if len(self._names) < MAX_DEVICES or record.uid in self._names:
                    self._names[record.uid] = next(iter((*record.names, *record.addresses, *record.macs)), record.uid)
            elif isinstance(record, Finding) and record.is_alert and record.severity >= 4:
                if self._told.setdefault(record.key or record.uid, "") == "":
                    self._told[record.key or record.uid] = "told"
                    found.append(_line(record.time, f"found: {record.title}: {record.reason}"))
            elif isinstance(record, Action):
                found += self._action(record)
        return found

    def _action(self, action: Action) -> list[str]:
        words = _STATES.get(action.state)
        if words is None or action.kind is not ActionKind.QUARANTINE or self._told.get(action.uid) == action.state:
            return []
        self._told[action.uid] = action.state
        name = self._names.get(action.device, action.device)
        text = f"{name} {words}"
        if action.state is ActionState.IN_FORCE and action.trigger_at:
            text += f", {action.applied_at - action.trigger_at:.2f} s after its first bad packet"
        if action.refused:
            text += f": {action.refused}"
        return [_line(_moment(action), text)]


def _moment(action: Action) -> float:
    """When it came to the state that it is in."""
    if action.state in (ActionState.UNDONE, ActionState.EXPIRED):
        return action.ended_at or action.time
    return action.applied_at or action.time


def _line(at: float, text: str) -> str:
    return f"{datetime.fromtimestamp(at).astimezone():%H:%M:%S}  {text}"


def news_line(at: float, text: str) -> str:
    """Give a line about the simulated site itself."""
    return _line(at, f"[simulated] {text}")
