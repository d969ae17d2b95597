"""What the demo says on the terminal."""

import msgspec

from thingward.apps.demo.narrate import Narrator
from thingward.model.action import Action, ActionKind, ActionState
from thingward.model.device import Device
from thingward.model.finding import Finding

DEVICE = Device(uid="d-1", tenant="t", time=1.0, source="x", names=("ipcam-porch",))
FINDING = Finding(
    uid="f-1",
    tenant="t",
    time=2.0,
    source="x",
    rule="scan.hosts",
    title="Scan",
    reason="many",
    severity=4,
    is_alert=True,
    key="k",
)
ACTION = Action(
    uid="a-1", tenant="t", time=3.0, source="x", kind=ActionKind.QUARANTINE, device="d-1", state=ActionState.IN_FORCE,
    trigger_at=100.0, applied_at=100.4,
)  # fmt: skip


def test_it_tells_alerts_and_blocks_once_and_by_name() -> None:
    narrator = Narrator()
    (found,) = narrator.lines([DEVICE, FINDING, msgspec.structs.replace(FINDING, uid="f-2")])
    assert "found: Scan: many" in found
    (shut,) = narrator.lines([ACTION, ACTION])
    assert shut.endswith("ipcam-porch is shut out, 0.40 s after its first bad packet")
    assert narrator.lines([ACTION]) == []
    (free,) = narrator.lines([msgspec.structs.replace(ACTION, state=ActionState.UNDONE, ended_at=3700.4)])
    assert "let in again" in free
    assert free[:8] != shut[:8], "the time at which it was let in again, not that of the block"


def test_quiet_things_are_left_out() -> None:
    narrator = Narrator()
    quiet = [msgspec.structs.replace(FINDING, severity=2), msgspec.structs.replace(FINDING, is_alert=False)]
    assert narrator.lines([*quiet, msgspec.structs.replace(ACTION, state=ActionState.PLANNED)]) == []
