"""Which findings deserve a person's look: suppression, damping of repeats and of flapping, a daily budget."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from thingward.model.finding import Finding, Suppression
from thingward.model.flow import Command, Notify, Output
from thingward.model.ids import hashed_uid
from thingward.model.packed import unpack
from thingward.model.record import Record

MAX_KEYS = 20_000
MAX_HELD = 20
#: Above what the desk lets people make.
MAX_SUPPRESSIONS = 4_000
DAY_S = 86_400.0
#: Findings of this severity and above are alerts whatever the budget says.
ALWAYS = 4


class TriageSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What makes a finding an alert.

    Attributes:
        min_severity, min_confidence: below these a finding is kept, and is no alert.
        quiet_s: the same key is not alerted again within this time, in seconds, unless it got more severe.
        flap_count, flap_span_s: a key alerted so often in that time is flapping: it is held until it was not seen for
            that time.
        daily_budget: alerts of severity 3 and below per tenant and UTC day; beyond it they wait for the digest.
    """

    min_severity: int = 3
    min_confidence: float = 0.5
    quiet_s: float = 3600.0
    flap_count: int = 4
    flap_span_s: float = 6 * 3600.0
    daily_budget: int = 50


class _Key(msgspec.Struct):
    """What was alerted of one key: when last seen, how severe, times of the latest alerts."""

    seen: float
    severity: int
    alerts: list[float]
    is_flapping: bool = False


class _Day(msgspec.Struct):
    """One tenant's budget: the UTC day (days since 1970), alerts given, what was held back."""

    day: int
    used: int = 0
    held: int = 0
    titles: list[str] = []


class _State(msgspec.Struct):
    keys: dict[str, _Key] = {}
    days: dict[str, _Day] = {}
    suppressions: dict[str, Suppression] = {}


def matches(pattern: str, rule: str) -> bool:
    """Tell whether a rule id fits a pattern: itself, or a prefix ending in `*`."""
    return rule.startswith(pattern[:-1]) if pattern.endswith("*") else rule == pattern


class TriageStage:
    """Marks findings that are alerts and says in their reason why a noisy one falls silent; passes the rest on."""

    name = "triage"

    def __init__(self, settings: TriageSettings | None = None) -> None:
        self.settings = settings or TriageSettings()
        self._state = _State()

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Judge the findings of a batch."""
        commands: list[Command] = []
        records: list[Record] = []
        for record in batch:
            if isinstance(record, Suppression):
                self._suppress(record, now)
            is_new = isinstance(record, Finding) and not record.is_alert
            records.append(self._judge(record, commands) if is_new else record)  # type: ignore[arg-type]
        return Output(records=records, commands=commands)

    def tick(self, now: float) -> Output:
        """Send the digest of a tenant once its UTC day is over."""
        day = int(now // DAY_S)
        commands: list[Command] = []
        for tenant, held in self._state.days.items():
            if held.day < day:
                self._close_day(tenant, held, day, commands)
        return Output(commands=commands)

    def snapshot(self) -> bytes:
        """Give the whole state."""
        return msgspec.msgpack.encode(self._state)

    def restore(self, state: bytes) -> None:
        """Take what `snapshot` gave; raises InvalidInput for anything else."""
        self._state = unpack(msgspec.msgpack.Decoder(_State), state, "a state of the triage stage")

    def _judge(self, finding: Finding, commands: list[Command]) -> Finding:
        settings = self.settings
        if self._is_suppressed(finding):
            return msgspec.structs.replace(finding, suppressed=True)
        if finding.severity < settings.min_severity or finding.confidence < settings.min_confidence:
            return finding
        note = self._damp(finding)
        if note is None or not self._spend(finding, commands):
            return finding
        return msgspec.structs.replace(finding, is_alert=True, reason=finding.reason + note)

    def _is_suppressed(self, finding: Finding) -> bool:
        return any(
            s.tenant == finding.tenant
            and matches(s.rule, finding.rule)
            and s.device in ("", finding.device)
            and s.key in ("", finding.key)
            and (not s.until or finding.time < s.until)
            for s in self._state.suppressions.values()
        )

    def _suppress(self, suppression: Suppression, now: float) -> None:
        """Keep a person's word, or forget it; those that are over go too."""
        held = self._state.suppressions
        held.pop(suppression.uid, None)
        if not suppression.removed:
            held[suppression.uid] = suppression
        if len(held) > MAX_SUPPRESSIONS:
            del held[next(iter(held))]
        for uid in [uid for uid, item in held.items() if item.until and item.until < now - DAY_S]:
            del held[uid]

    def _damp(self, finding: Finding) -> str | None:
        """Give None where the key must stay silent, else what to add to the reason."""
        settings, name = self.settings, f"{finding.tenant}\n{finding.site}\n{finding.key or finding.uid}"
        key = self._state.keys.pop(name, None)
        if key is None:
            self._state.keys[name] = _Key(finding.time, finding.severity, [finding.time])
            if len(self._state.keys) > MAX_KEYS:
                del self._state.keys[next(iter(self._state.keys))]
            return ""
        self._state.keys[name] = key
        quiet_s, key.seen = finding.time - key.seen, max(finding.time, key.seen)
        got_worse = finding.severity > key.severity
        if key.is_flapping and quiet_s >= settings.flap_span_s:
            key.is_flapping, key.alerts = False, []
        if not got_worse and (key.is_flapping or (key.alerts and finding.time - key.alerts[-1] < settings.quiet_s)):
            return None
        key.severity = max(finding.severity, key.severity)
        recent = [time for time in key.alerts if time > finding.time - settings.flap_span_s]
        key.alerts = [*recent, finding.time][-settings.flap_count :]
        if len(key.alerts) < settings.flap_count:
            return ""
        key.is_flapping = True
        return (
            f"; flapping: alerted {len(key.alerts)} times within {settings.flap_span_s / 3600:.0f} h, "
            f"held from now on until it was not seen for as long"
        )

    def _spend(self, finding: Finding, commands: list[Command]) -> bool:
        """Take one alert from the tenant's budget of the day; False where it is used up."""
        day = int(finding.time // DAY_S)
        held = self._state.days.get(finding.tenant)
        if held is None:
            held = self._state.days[finding.tenant] = _Day(day)
        elif held.day < day:
            self._close_day(finding.tenant, held, day, commands)
        if finding.severity >= ALWAYS:
            return True
        if held.used >= self.settings.daily_budget:
            held.held += 1
            if len(held.titles) < MAX_HELD:
                held.titles.append(finding.title)
            return False
        held.used += 1
        return True

    def _close_day(self, tenant: str, held: _Day, day: int, commands: list[Command]) -> None:
        if held.held:
            lines = [*held.titles]
            if held.held > len(lines):
                lines.append(f"and {held.held - len(lines)} more")
            commands.append(
                Notify(
                    uid=hashed_uid("digest", tenant, str(held.day)),
                    tenant=tenant,
                    key=f"digest:{held.day}",
                    title=f"{held.held} findings beyond the daily alert budget",
                    text="\n".join(lines),
                    urgency=2,
                )
            )
        held.day, held.used, held.held, held.titles = day, 0, 0, []
