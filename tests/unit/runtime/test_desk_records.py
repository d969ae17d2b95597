"""Imports are stamped and bounded; bundles go to an owner-only folder; the demo's attack exists only in the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from thingward.adapters.control_store.memory import MemoryControlStore
from thingward.adapters.signer.ed25519_file import Ed25519FileSigner
from thingward.assurance.service import EvidenceService
from thingward.inventory.adoption import Kept, pack_learnt
from thingward.inventory.learner import LearnerState
from thingward.inventory.traffic import TrafficState
from thingward.model import intent as intents
from thingward.model.codec import decode_batch, encode_batch
from thingward.model.device import Device
from thingward.model.intent import Answer, Intent
from thingward.model.observation import DnsData, Endpoint, Observation, StatusData
from thingward.model.principal import Principal, Role
from thingward.model.profile import Learnt, MudProfile
from thingward.model.record import Record
from thingward.runtime import guard_result
from thingward.runtime.desk import Desk
from thingward.runtime.desk_records import record_handlers

DEVICE = Device(uid="d-1", tenant="elsewhere", time=1.0, source="guard:x")
ADMIN = Principal(uid="u-evil", tenant="default", time=1.0, source="x", name="evil", role=Role.ADMIN)
SEEN = Observation(
    uid="o-1",
    tenant="elsewhere",
    time=1.0,
    source="x",
    src=Endpoint(mac="00:00:5e:00:53:17", device="d-forged", names=("forged",), roles=("gateway",)),
    data=DnsData(qname="a.example"),
)
ALIVE = msgspec.structs.replace(SEEN, uid="o-2", data=StatusData(status="alive"))


def ask(tmp_path: Path, body: Any, *, demo: bool = False) -> tuple[Answer, tuple[Record, ...]]:
    evidence = EvidenceService(Ed25519FileSigner(tmp_path / "key.pem"))
    desk = Desk(record_handlers(evidence, tmp_path / "bundles", demo=demo))
    intent = Intent(uid="i", tenant="default", principal="u", role=Role.ADMIN, time=1.0, body=body)
    return desk.handle(intent, MemoryControlStore(), random=bytes, now=1.0)


def test_import_is_stamped_and_takes_no_users(tmp_path: Path) -> None:
    batch = encode_batch([DEVICE, ADMIN])
    answer, records = ask(tmp_path, intents.ImportRecords(source="a.pcap", batch=batch))
    assert answer.ok and not any(isinstance(record, Principal) for record in records)
    (device,) = [record for record in records if isinstance(record, Device)]
    assert (device.tenant, device.source) == ("default", "import:a.pcap")


@pytest.mark.parametrize("batch", [b"", b"\xc1", encode_batch([]), encode_batch([ADMIN])])
def test_nothing_to_import_is_said(tmp_path: Path, batch: bytes) -> None:
    assert ask(tmp_path, intents.ImportRecords(source="a", batch=batch))[0].code == "input.invalid"


def test_pushed_observations_keep_only_observations(tmp_path: Path) -> None:
    answer, records = ask(tmp_path, intents.ImportFlowLog(source="zeek", batch=encode_batch([SEEN, ADMIN, ALIVE])))
    assert answer.ok
    assert not answer.records, "whoever sent them has them"
    (seen,) = [record for record in records if isinstance(record, Observation)]
    assert (seen.tenant, seen.source) == ("default", "push:zeek")
    assert seen.src == Endpoint(mac="00:00:5e:00:53:17")


def test_nobody_but_a_sensor_tells_how_a_sensor_is(tmp_path: Path) -> None:
    answer, _ = ask(tmp_path, intents.ImportFlowLog(source="zeek", batch=encode_batch([ALIVE])))
    assert answer.code == "input.invalid"


def test_attack_only_in_the_demo(tmp_path: Path) -> None:
    assert ask(tmp_path, intents.StartAttack())[0].code == "machine.unsupported"
    assert ask(tmp_path, intents.StartAttack(), demo=True)[0].ok


def test_bundle_of_nothing_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    answer, _ = ask(tmp_path, intents.ExportEvidence(scope="case", target="none"))
    assert answer.code == "record.not_found"
    assert not (tmp_path / "bundles").exists()


def test_learning_is_stamped_and_takes_the_place_of_its_profile(tmp_path: Path) -> None:
    kept = Kept(
        learner=LearnerState(device="d-1", entries=[], flows=3),
        traffic=TrafficState(width_s=60.0, groups=[], bindings=[], dropped=0),
    )
    learnt = pack_learnt(kept, tenant="elsewhere", site="home", source="guard")
    profiles = [MudProfile(uid=f"p-{n}", tenant="t", time=1.0, source="x", device=f"d-{n}") for n in (1, 2)]
    answer, records = ask(
        tmp_path, intents.ImportRecords(source="a.pcap", batch=encode_batch([DEVICE, learnt, *profiles]))
    )
    assert answer.plan == ("import 1 device, 2 profiles from a.pcap",)
    (found,) = [record for record in records if isinstance(record, Learnt)]
    assert (found.uid, found.tenant, found.source) == (learnt.uid, "default", "import:a.pcap")
    assert [record.device for record in records if isinstance(record, MudProfile)] == ["d-2"]


def test_learning_that_is_none_is_refused(tmp_path: Path) -> None:
    bad = Learnt(uid="l", tenant="t", time=1.0, source="x", device="d", state=b"\x90")
    assert ask(tmp_path, intents.ImportRecords(source="a", batch=encode_batch([bad])))[0].code == "input.invalid"


def test_a_run_is_packed_into_batches_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_result, "BATCH_BYTES", 400)
    views = tuple(
        guard_result.DeviceView(device=Device(uid=f"d-{n}", tenant="t", time=1.0, source="g")) for n in range(20)
    )
    batches = list(
        guard_result.result_batches(guard_result.GuardResult(site="s", tenant="t", version="0", views=views))
    )
    assert len(batches) > 2
    assert max(map(len, batches)) <= 400
    assert [record.uid for batch in batches for record in decode_batch(batch)] == [f"d-{n}" for n in range(20)]
