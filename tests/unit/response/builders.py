"""Devices, findings and a stage for tests of the response room."""

import msgspec

from thingward.model.action import Action, ActionKind, Limits, Outcome, ResponseRule
from thingward.model.device import Device
from thingward.model.finding import Case, Finding
from thingward.model.flow import Apply, Notify
from thingward.model.ids import DEFAULT_TENANT, Tenant, Uid
from thingward.model.principal import SettingValue
from thingward.response.plan import Request, plan_quarantine, plan_release

NOW = 1_700_000_000.0


def device(n, **fields):
    defaults = {
        "macs": (f"02:00:00:00:00:{n:02x}",),
        "addresses": (f"192.168.1.{n}",),
        "names": (f"thing{n}",),
        "kind": "camera",
        "identified": True,
    }
    return Device(uid=Uid(f"d-{n}"), tenant=DEFAULT_TENANT, time=NOW, source="inventory", **{**defaults, **fields})


def fleet(size=20, **fields):
    return [device(n, **fields) for n in range(1, size + 1)]


def finding(n=1, *, rule="scan.hosts", dev="d-5", time=NOW, severity=4, is_alert=True, **fields):
    defaults = {"suggested": ("quarantine",), "confidence": 0.95, "first": time - 0.5}
    return Finding(
        uid=Uid(f"f-{n}"),
        tenant=DEFAULT_TENANT,
        time=time,
        source="detection",
        rule=rule,
        title=f"{rule} by {dev}",
        reason="because",
        device=dev,
        key=f"{rule} {dev}",
        severity=severity,
        is_alert=is_alert,
        **{**defaults, **fields},
    )


def rule(**fields):
    defaults = {"name": "worms out", "enabled": True, "by": "kim", "ttl_s": 600.0}
    return ResponseRule(
        uid=Uid(fields.pop("uid", "r-1")), tenant=DEFAULT_TENANT, time=NOW, source="core", **{**defaults, **fields}
    )


def limits(**fields):
    value = msgspec.json.encode(Limits(**fields)).decode()
    return SettingValue(
        uid=Uid("limits"), tenant=DEFAULT_TENANT, time=NOW, source="core", name="limits", value=value, by="kim"
    )


def request(seed="i-1", *, now=NOW, by="kim", **fields):
    return Request(tenant="default", by=by, now=now, seed=seed, reason=fields.pop("reason", "looks bad"), **fields)


def asked(stage, dev, *, now=NOW, ttl_s=600.0, seed="i-1", force=False):
    """Plan a quarantine as a person's request would."""
    situation = stage.situation("default")
    return plan_quarantine(
        situation, situation.devices[dev], request(seed, now=now, parents=(seed,)), ttl_s=ttl_s, force=force
    )


def released(stage, dev, *, now=NOW, seed="i-2"):
    situation = stage.situation("default")
    return plan_release(situation, situation.devices[dev], request(seed, now=now, parents=(seed,)))


def outcome(action, status="applied", *, time=NOW + 0.2, **fields):
    return Outcome(
        uid=Uid(f"o-{action.uid}-{status}-{time}"),
        tenant=Tenant(action.tenant),
        time=time,
        source="warden",
        enforcer="nftables",
        action=action.uid,
        status=status,
        **fields,
    )


def of(kind, output):
    """Give the records of a kind."""
    return [record for record in output.records if isinstance(record, kind)]


def applied(output):
    return [command.action for command in output.commands if isinstance(command, Apply)]


def notified(output):
    return [command for command in output.commands if isinstance(command, Notify)]


def cases(output):
    return of(Case, output)


def actions(output):
    return of(Action, output)


def is_quarantine(action):
    return action.kind is ActionKind.QUARANTINE
