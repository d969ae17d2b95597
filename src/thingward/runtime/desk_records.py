"""Handlers for what comes in and goes out as a whole: evidence bundles, results of `guard`, pushed observations."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from thingward.assurance.service import EvidenceService
from thingward.inventory.adoption import verify_learnt
from thingward.model.codec import AnyRecord, decode_batch
from thingward.model.device import Device
from thingward.model.errors import InvalidInput, UnsupportedHere
from thingward.model.finding import Finding
from thingward.model.ids import Tenant
from thingward.model.intent import ExportEvidence, ImportFlowLog, ImportRecords, Intent, StartAttack, TestNotification
from thingward.model.observation import Endpoint, Observation
from thingward.model.profile import Learnt, MudProfile, Preview
from thingward.runtime.desk import Decision, DeskContext, Handler, body_of
from thingward.sensing.pushed import PushedData

#: Below what one frame of a link carries.
MAX_IMPORT_BYTES = 12 * 1024 * 1024
MAX_IMPORT_RECORDS = 200_000
_IMPORTABLE = (Device, MudProfile, Learnt, Preview, Finding)


def record_handlers(evidence: EvidenceService, bundles: Path, *, demo: bool) -> dict[type, Handler]:
    """Handlers for bundles, imports, the notification test and the demo's attack.

    The last two only check here; core carries them out after the decision is on disk, and answers with what came of it.

    Args:
        bundles: folder for evidence bundles, made owner-only.
    """
    return {
        ExportEvidence: lambda intent, context: export_evidence(intent, context, evidence, bundles),
        ImportRecords: import_records,
        ImportFlowLog: import_observations,
        TestNotification: lambda intent, context: Decision(
            plan=(f"send a test message through {body_of(intent, TestNotification).channel}",)
        ),
        StartAttack: lambda intent, context: start_attack(intent, demo=demo),
    }


def export_evidence(intent: Intent, context: DeskContext, evidence: EvidenceService, bundles: Path) -> Decision:
    """Write a signed bundle into the folder; the answer carries its path."""
    body = body_of(intent, ExportEvidence)
    name, content = evidence.export(intent.tenant, body, context.control, context.now)
    line = f"bundle {name} with {len(content)} bytes, signed by key {evidence.key_id()}"
    if body.dry_run:
        return Decision(plan=(line,), target=body.target)
    bundles.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = bundles / name
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    return Decision(plan=(line,), path=str(path), target=body.target)


def import_records(intent: Intent, context: DeskContext) -> Decision:
    """Take what `guard --save` or a dropped capture learnt.

    Only devices, profiles, learning, previews and findings; each is stamped with the tenant of the caller and marked with
    its source, so that nothing can be slipped into another tenant or under another name. Where a device's learning comes
    along, its profile is left out: learning goes on from there, and gives the profile itself.
    """
    body = body_of(intent, ImportRecords)
    source = f"import:{body.source[:200]}"
    records = [record for record in _decode(body.batch) if isinstance(record, _IMPORTABLE)]
    learnt = {record.device for record in records if isinstance(record, Learnt)}
    records = [record for record in records if not (isinstance(record, MudProfile) and record.device in learnt)]
    for record in records:
        if isinstance(record, Learnt):
            verify_learnt(record)
    stamped = tuple(msgspec.structs.replace(record, tenant=Tenant(intent.tenant), source=source) for record in records)
    if not stamped:
        raise InvalidInput("there is nothing to import in this batch.")
    return Decision(records=stamped, plan=(f"import {_count(stamped)} from {body.source}",), target=body.source)


def import_observations(intent: Intent, context: DeskContext) -> Decision:
    """Take observations that another system pushed; they pass the whole road like a sensor's.

    Each is stamped with the tenant of the caller and marked with its source; of its ends only the addresses are kept:
    which device that is inventory says. Nobody but a sensor tells how a sensor is.
    """
    body = body_of(intent, ImportFlowLog)
    told = {"tenant": Tenant(intent.tenant), "source": f"push:{body.source[:200]}"}
    stamped = tuple(
        msgspec.structs.replace(record, src=_addresses(record.src), dst=_addresses(record.dst), **told)
        for record in _decode(body.batch)
        if isinstance(record, Observation) and isinstance(record.data, PushedData)
    )
    if not stamped:
        raise InvalidInput("there are no observations in this batch.")
    plan = (f"take {len(stamped)} observations from {body.source}",)
    return Decision(records=stamped, plan=plan, target=body.source, is_told=False)


def _addresses(end: Endpoint | None) -> Endpoint | None:
    return Endpoint(mac=end.mac, ip=end.ip, port=end.port) if end else None


def start_attack(intent: Intent, *, demo: bool) -> Decision:
    """Let a simulated device turn bad: only in the demo."""
    if not demo:
        raise UnsupportedHere("there is no simulated site here.", hint="Run make demo.")
    device = body_of(intent, StartAttack).device
    return Decision(plan=(f"{device or 'one simulated device'} turns Mirai-like",), target=device)


def _decode(batch: bytes) -> list[AnyRecord]:
    if len(batch) > MAX_IMPORT_BYTES:
        raise InvalidInput(f"a batch holds at most {MAX_IMPORT_BYTES >> 20} MiB.", hint="Send several.")
    records = decode_batch(batch)
    if len(records) > MAX_IMPORT_RECORDS:
        raise InvalidInput(f"a batch holds at most {MAX_IMPORT_RECORDS} records.", hint="Send several.")
    return records


def _count(records: tuple[AnyRecord, ...]) -> str:
    kinds: dict[str, int] = {}
    for record in records:
        kind = "profile" if isinstance(record, Learnt) else str(record.__struct_config__.tag)
        kinds[kind] = kinds.get(kind, 0) + 1
    return ", ".join(f"{count} {kind}{'s' if count != 1 else ''}" for kind, count in sorted(kinds.items()))
