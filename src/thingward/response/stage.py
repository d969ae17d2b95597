"""Alerts to cases, cases to bounded actions, outcomes back into both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from thingward.model.action import Action, ActionKind, ActionState, Approval, Limits, Outcome, ResponseRule
from thingward.model.device import Device, device_name
from thingward.model.finding import Case, CaseState, Finding
from thingward.model.flow import Apply, Command, Notify, Output
from thingward.model.ids import hashed_uid
from thingward.model.packed import unpack
from thingward.model.principal import SettingValue
from thingward.model.record import Record
from thingward.response.book import Asked, Book
from thingward.response.bounds import Situation
from thingward.response.cases import NoteKind, add_action, add_finding, add_note, case_key, matter_of, open_case
from thingward.response.outcomes import Closed, close_action, expire_action
from thingward.response.plan import Request, plan_quarantine
from thingward.response.rules import choose_rule

#: The enforcer is asked again after these waits without an outcome, in seconds; then the action counts as failed.
ASK_AGAIN_S = (10.0, 30.0, 90.0)
_LIMITS = msgspec.json.Decoder(Limits)
_State = msgspec.msgpack.Decoder(dict[str, Book])


class _Turn:
    """What one call of the stage hands on."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.records: list[Record] = []
        self.commands: list[Command] = []
        self.cases: dict[str, Case] = {}

    def output(self) -> Output:
        return Output(records=[*self.records, *self.cases.values()], commands=self.commands)


class ResponseStage:
    """Keeps cases and actions of every tenant.

    It takes alerts, devices, outcomes, and what persons decided: actions they requested, response rules, approvals,
    edited cases, the setting `limits`. Nothing is shut out unless a person requested it or enabled a rule that says so.
    Each device record that passes gets the `mode` that holds now.

    Args:
        limits: hold until a person sets others.
    """

    name = "response"

    def __init__(self, limits: Limits | None = None) -> None:
        self._default = limits or Limits()
        self._books: dict[str, Book] = {}
        self._handlers: dict[type, Callable[[Book, Any, _Turn], Record]] = {
            Device: self._on_device,
            Finding: self._on_finding,
            Action: self._on_action,
            Outcome: self._on_outcome,
            ResponseRule: self._on_rule,
            Approval: self._on_approval,
            Case: self._on_case,
            SettingValue: self._on_setting,
        }

    def situation(self, tenant: str) -> Situation:
        """Give what plans of this tenant are judged against, as of now."""
        return self._book(tenant).situation(self._default)

    def adopt(self, records: Sequence[Record]) -> None:
        """Take over what the control store holds, where there is no snapshot; asks nobody for anything.

        Devices, rules, approvals, the setting `limits`, open cases, and quarantines that are in force.
        """
        for record in records:
            book = self._book(record.tenant)
            if isinstance(record, Action):
                if record.kind is ActionKind.QUARANTINE and record.state is ActionState.IN_FORCE:
                    book.keep_action(record)
                    book.quarantines[record.device] = record.uid
                    book.note_start(record.site, record.requested_at, record.device)
            elif isinstance(record, Case):
                book.keep_case(record, _key_of(record))
            elif isinstance(record, Device | ResponseRule | Approval | SettingValue):
                self._handlers[type(record)](book, record, _Turn(record.time))

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Act on a batch, in order; changed cases come last."""
        turn = _Turn(now)
        for record in batch:
            handler = self._handlers.get(type(record))
            if handler is None:
                turn.records.append(record)
                continue
            position = len(turn.records)
            passed = handler(self._book(record.tenant), record, turn)
            if not isinstance(passed, Case):
                turn.records.insert(position, passed)
        return turn.output()

    def tick(self, now: float) -> Output:
        """End what has expired; ask again for what got no outcome."""
        turn = _Turn(now)
        for book in self._books.values():
            for uid in list(book.quarantines.values()):
                action = book.actions[uid]
                if action.state is ActionState.IN_FORCE and action.expires <= now:
                    self._settle(book, expire_action(action), turn)
            for uid, asked in list(book.asked.items()):
                self._ask_again(book, book.actions[uid], asked, turn)
        return turn.output()

    def snapshot(self) -> bytes:
        """Give the whole state."""
        return msgspec.msgpack.encode(self._books)

    def restore(self, state: bytes) -> None:
        """Take what `snapshot` gave; raises InvalidInput for anything else."""
        self._books = unpack(_State, state, "a state of the response stage")

    def _book(self, tenant: str) -> Book:
        book = self._books.get(tenant)
        if book is None:
            book = self._books[tenant] = Book()
        return book

    def _on_device(self, book: Book, device: Device, turn: _Turn) -> Record:
        book.learn_device(device)
        mode = book.mode_of(device.uid)
        if mode is not device.mode:
            device = msgspec.structs.replace(device, mode=mode)
            book.devices[device.uid] = device
        return device

    def _on_rule(self, book: Book, rule: ResponseRule, turn: _Turn) -> Record:
        if rule.deleted:
            book.rules.pop(rule.uid, None)
        else:
            book.rules[rule.uid] = rule
        return rule

    def _on_setting(self, book: Book, setting: SettingValue, turn: _Turn) -> Record:
        if setting.name == "limits":
            book.limits = _LIMITS.decode(setting.value)
        return setting

    def _on_approval(self, book: Book, approval: Approval, turn: _Turn) -> Record:
        book.learn_approval(approval)
        self._show_mode(book, approval.device, turn)
        return approval

    def _on_case(self, book: Book, case: Case, turn: _Turn) -> Record:
        book.keep_case(case, _key_of(case))
        turn.cases[case.uid] = case
        return case

    def _on_finding(self, book: Book, finding: Finding, turn: _Turn) -> Record:
        case = book.case_of(finding)
        if case is not None and finding.uid in case.findings:
            return msgspec.structs.replace(finding, case=case.uid)
        rule = None
        if finding.device and not finding.suppressed and finding.device not in book.quarantines:
            # Damping and budget spare people; they do not keep a rule from acting.
            rule = choose_rule(book.rules.values(), finding, book.devices.get(finding.device))
        device = book.devices.get(finding.device or finding.target)
        name = device_name(device) if device else ""
        if case is None:
            if not finding.is_alert and rule is None:
                return finding
            case = open_case(finding, name)
            self._notify(turn, finding, case.uid, case.title, finding.reason, finding.severity, "opened")
        elif finding.is_alert and (finding.severity > case.severity or finding.rule not in case.rules):
            self._notify(turn, finding, case.uid, finding.title, finding.reason, finding.severity, "grew")
        case = add_finding(case, finding, name)
        finding = msgspec.structs.replace(finding, case=case.uid)
        self._keep(book, case, turn, case_key(finding))
        if rule is not None:
            self._respond(book, finding, rule, turn)
        return finding

    def _respond(self, book: Book, finding: Finding, rule: ResponseRule, turn: _Turn) -> None:
        """Do what a rule says, within the limits; a refusal is kept as evidence, once an hour and device."""
        device = book.devices[finding.device]
        request = Request(
            tenant=finding.tenant,
            by=f"rule:{rule.uid}",
            now=turn.now,
            seed=finding.uid,
            reason=f"{finding.title}: {finding.reason}",
            case=finding.case,
            finding=finding.uid,
            trigger_at=finding.first or finding.time,
            parents=(finding.uid, rule.uid),
        )
        plan = plan_quarantine(book.situation(self._default), device, request, ttl_s=rule.ttl_s)
        action = plan.records[0]
        assert isinstance(action, Action)
        if plan.refusal is None:
            turn.records.append(action)
            self._register(book, action, turn)
        elif book.note_refusal(device.uid, turn.now):
            turn.records.append(action)
            book.keep_action(action)
            text = f"not quarantined by rule {rule.name}: {plan.refusal.reason}"
            self._note(book, action, turn, text, kind="action")
            self._notify(turn, action, action.case, f"{device_name(device)} was not quarantined", text, 4, "refused")

    def _on_action(self, book: Book, action: Action, turn: _Turn) -> Record:
        """Carry out what a person requested, once."""
        is_known = action.uid in book.actions
        if action.state is ActionState.REQUESTED and not action.dry_run and not is_known:
            if action.kind in (ActionKind.QUARANTINE, ActionKind.RELEASE):
                self._register(book, action, turn)
        elif not is_known and not action.dry_run:
            book.keep_action(action)
        return action

    def _register(self, book: Book, action: Action, turn: _Turn) -> None:
        book.keep_action(action)
        book.asked[action.uid] = Asked(turn.now)
        if action.kind is ActionKind.QUARANTINE:
            book.quarantines[action.device] = action.uid
            book.note_start(action.site, turn.now, action.device)
        turn.commands.append(Apply(action=action))
        what = "quarantine" if action.kind is ActionKind.QUARANTINE else "release"
        self._note(book, action, turn, f"{what} requested: {action.reason}", kind="action")

    def _on_outcome(self, book: Book, outcome: Outcome, turn: _Turn) -> Record:
        action = book.actions.get(outcome.action)
        if action is not None:
            held = book.actions.get(book.quarantines.get(action.device, ""))
            for closed in close_action(action, outcome, held if held is not action else None):
                self._settle(book, closed, turn)
        return outcome

    def _settle(self, book: Book, closed: Closed, turn: _Turn) -> None:
        """Keep an action's new state and tell case, device record and people."""
        action = closed.action
        book.keep_action(action)
        book.asked.pop(action.uid, None)
        if closed.ends_quarantine:
            book.end_quarantine(action.uid)
        elif action.kind is ActionKind.QUARANTINE and action.state is ActionState.IN_FORCE:
            book.quarantines.setdefault(action.device, action.uid)
        turn.records.append(action)
        self._show_mode(book, action.device, turn)
        self._note(book, action, turn, closed.text, kind="outcome", state=closed.case_state)
        if closed.urgency:
            device = book.devices.get(action.device)
            title = f"{device_name(device) if device else action.device}: {closed.title}"
            self._notify(turn, action, action.case, title, closed.text, closed.urgency, action.state)

    def _ask_again(self, book: Book, action: Action, asked: Asked, turn: _Turn) -> None:
        if turn.now - asked.time < ASK_AGAIN_S[min(asked.count, len(ASK_AGAIN_S)) - 1]:
            return
        protected = book.protection_of(action, self._default) if action.kind is ActionKind.QUARANTINE else ""
        if asked.count < len(ASK_AGAIN_S) and not protected:
            book.asked[action.uid] = Asked(turn.now, asked.count + 1)
            turn.commands.append(Apply(action=action))
            return
        silence = Outcome(
            uid=hashed_uid("outcome", action.uid, "silence"),
            tenant=action.tenant,
            time=turn.now,
            source="response",
            parents=(action.uid,),
            action=action.uid,
            status="refused" if protected else "failed",
            detail=protected or "the enforcer gave no answer",
        )
        turn.records.append(silence)
        self._on_outcome(book, silence, turn)

    def _show_mode(self, book: Book, uid: str, turn: _Turn) -> None:
        device = book.devices.get(uid)
        if device is not None and device.mode is not book.mode_of(uid):
            device = msgspec.structs.replace(device, mode=book.mode_of(uid), time=turn.now)
            book.devices[uid] = device
            turn.records.append(device)

    def _note(
        self,
        book: Book,
        action: Action,
        turn: _Turn,
        text: str,
        *,
        kind: NoteKind = "note",
        state: CaseState | None = None,
    ) -> None:
        case = book.case_for_action(action)
        if case is None:
            return
        by = action.requested_by if kind == "action" else "system"
        if case.state is CaseState.CLOSED:
            state = None
        case = add_note(add_action(case, action.uid), turn.now, text, by=by, record=action.uid, kind=kind, state=state)
        self._keep(book, case, turn)

    def _keep(self, book: Book, case: Case, turn: _Turn, key: str = "") -> None:
        book.keep_case(case, key)
        turn.cases[case.uid] = case

    def _notify(
        self, turn: _Turn, record: Finding | Action, case: str, title: str, text: str, urgency: int, what: str
    ) -> None:
        turn.commands.append(
            Notify(
                uid=hashed_uid("notify", record.uid, what),
                tenant=record.tenant,
                key=case or record.uid,
                title=title,
                text=text,
                urgency=urgency,
                case=case,
                device=record.device,
            )
        )


def _key_of(case: Case) -> str:
    """Give the matter of a case that comes from outside: of its device, and of its first rule."""
    if not case.device or not case.rules:
        return ""
    return f"{case.site}\n{case.device}\n{matter_of(case.rules[0])}"
