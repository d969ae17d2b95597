"""Settings as people see them: those of the file and those that may change while the platform runs."""

from __future__ import annotations

import json

import msgspec

from thingward.apps.server.deps import Deps
from thingward.model.action import Limits
from thingward.model.principal import SettingValue
from thingward.runtime.desk_identity import CHANGEABLE, current_limits


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """One setting: its value, and whether it may change while the platform runs."""

    name: str
    value: str
    description: str = ""
    changeable: bool = False
    changed_by: str = ""
    changed_at: float = 0.0


def limits_now(deps: Deps) -> Limits:
    """Give the limits in force."""
    return current_limits(deps.backend.control, deps.tenant, deps.options.limits)


def settings_now(deps: Deps) -> tuple[SettingView, ...]:
    """List all settings, those that may change now first."""
    changed = {row.name: row for row in deps.newest(SettingValue, 1000)}
    rows = [_view(name, value, text, changed.get(name)) for name, value, text in deps.options.file_settings]
    listed = {row.name for row in rows}
    rows += [_view(name, "", "", changed.get(name)) for name in CHANGEABLE if name not in listed]
    return tuple(sorted(rows, key=lambda row: (not row.changeable, row.name)))


def _view(name: str, value: str, text: str, row: SettingValue | None) -> SettingView:
    return SettingView(
        name=name,
        value=_plain(row.value) if row else value,
        description=text,
        changeable=name in CHANGEABLE,
        changed_by=row.by if row else "",
        changed_at=row.time if row else 0.0,
    )


def _plain(value: str) -> str:
    try:
        decoded = json.loads(value)
    except ValueError:
        return value
    return decoded if isinstance(decoded, str) else value
