"""What the response stage remembers of one tenant, within bounds."""

from __future__ import annotations

import msgspec

from thingward.model.action import Action, ActionState, Approval, Limits, ResponseRule
from thingward.model.device import Device, Mode
from thingward.model.finding import Case, CaseState, Finding
from thingward.response.bounds import HOUR_S, Situation, Targets, protected_by
from thingward.response.cases import case_key

MAX_DEVICES = 50_000
MAX_CASES = 5_000
MAX_ACTIONS = 10_000
MAX_STARTS = 10_000

_ENDED = (ActionState.UNDONE, ActionState.EXPIRED, ActionState.REFUSED, ActionState.FAILED)


class Asked(msgspec.Struct):
    """An action that waits for its outcome: when the enforcer was asked last, and how often."""

    time: float
    count: int = 1


class Book(msgspec.Struct):
    """One tenant's devices, cases, actions and rules.

    Attributes:
        open_cases: matter (`cases.case_key`) to case uid.
        quarantines: device uid to action uid, requested or in force.
        starts: site to (time, device uid) of quarantines begun, newest last.
        refusals: device uid to the time of the last refused action of a rule, so that they do not pile up.
        enforced: uids of devices with an approved profile in force.
        limits: None until a person set them: then the stage's own hold.
    """

    devices: dict[str, Device] = {}
    cases: dict[str, Case] = {}
    open_cases: dict[str, str] = {}
    actions: dict[str, Action] = {}
    quarantines: dict[str, str] = {}
    asked: dict[str, Asked] = {}
    starts: dict[str, list[tuple[float, str]]] = {}
    refusals: dict[str, float] = {}
    rules: dict[str, ResponseRule] = {}
    enforced: dict[str, str] = {}
    limits: Limits | None = None

    def learn_device(self, device: Device) -> None:
        """Keep a device's latest record; a quarantine follows a merged record to the one that took it in."""
        self.devices.pop(device.uid, None)
        self.devices[device.uid] = device
        if len(self.devices) > MAX_DEVICES:
            del self.devices[next(iter(self.devices))]
        if device.merged_into and device.uid in self.quarantines:
            self.quarantines.setdefault(device.merged_into, self.quarantines.pop(device.uid))

    def mode_of(self, device: str) -> Mode:
        """Tell what is done with the device's traffic now."""
        held = self.actions.get(self.quarantines.get(device, ""))
        if held is not None and held.state is ActionState.IN_FORCE:
            return Mode.QUARANTINE
        return Mode.ENFORCE if device in self.enforced else Mode.OBSERVE

    def learn_approval(self, approval: Approval) -> None:
        """Remember which approval is in force for a device."""
        if approval.state == "in_force":
            self.enforced[approval.device] = approval.uid
        elif self.enforced.get(approval.device) == approval.uid:
            del self.enforced[approval.device]

    def situation(self, default: Limits) -> Situation:
        """Give what plans are judged against."""
        return Situation(
            devices=self.devices,
            quarantines={device: self.actions[uid] for device, uid in self.quarantines.items()},
            starts={site: tuple(rows) for site, rows in self.starts.items()},
            limits=self.limits or default,
        )

    def protection_of(self, action: Action, default: Limits) -> str:
        """Say why an action that was asked for before may not be any more, empty if it still may."""
        device = self.devices.get(action.device)
        if device is None or device.group:
            return "the device is gone" if device is None else "the record stands for many devices"
        return protected_by(self.situation(default), device, Targets(action.macs, action.addresses))

    def keep_action(self, action: Action) -> None:
        """Keep an action's latest state; ended ones are forgotten first when there are too many."""
        self.actions[action.uid] = action
        if len(self.actions) > MAX_ACTIONS:
            ended = next((uid for uid, a in self.actions.items() if a.state in _ENDED), None)
            if ended is not None:
                del self.actions[ended]

    def end_quarantine(self, action: str) -> None:
        """Forget that a quarantine holds, under whichever record its device is known now."""
        self.quarantines = {device: uid for device, uid in self.quarantines.items() if uid != action}

    def note_start(self, site: str, time: float, device: str) -> None:
        """Count a quarantine for the share per hour."""
        rows = [row for row in self.starts.get(site, []) if row[0] > time - HOUR_S]
        rows.append((time, device))
        self.starts[site] = rows[-MAX_STARTS:]

    def note_refusal(self, device: str, time: float) -> bool:
        """Remember a refusal; False where one of the last hour says enough."""
        if time - self.refusals.get(device, -HOUR_S) < HOUR_S:
            return False
        self.refusals = {uid: held for uid, held in self.refusals.items() if time - held < HOUR_S}
        self.refusals[device] = time
        return True

    def keep_case(self, case: Case, key: str = "") -> None:
        """Keep a case's latest state; closed ones are forgotten first when there are too many."""
        self.cases[case.uid] = case
        if case.state is CaseState.CLOSED:
            self.open_cases = {k: uid for k, uid in self.open_cases.items() if uid != case.uid}
        elif key:
            self.open_cases[key] = case.uid
        if len(self.cases) > MAX_CASES:
            closed = (uid for uid, held in self.cases.items() if held.state is CaseState.CLOSED)
            oldest = next(closed, None) or next(iter(self.cases))
            del self.cases[oldest]
            self.open_cases = {k: uid for k, uid in self.open_cases.items() if uid != oldest}

    def case_of(self, finding: Finding) -> Case | None:
        """Give the open case of a finding's matter."""
        uid = self.open_cases.get(case_key(finding))
        return self.cases.get(uid) if uid else None

    def case_for_action(self, action: Action) -> Case | None:
        """Give the case that an action names, else the open case about what its device does."""
        uid = action.case or self.open_cases.get(f"{action.site}\n{action.device}\nbehaviour", "")
        return self.cases.get(uid)
