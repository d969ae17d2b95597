"""The road: order, isolation of a failing stage, snapshots."""

from collections.abc import Sequence

import msgspec
import pytest

from thingward.model.errors import InvalidInput
from thingward.model.event import Event
from thingward.model.flow import Notify, Output
from thingward.model.ids import DEFAULT_TENANT, record_uid
from thingward.model.observation import Observation, StatusData
from thingward.model.record import Record
from thingward.runtime.flow import DEAD_LETTERS_PER_BATCH, Road
from thingward.runtime.stages import RoadPlan, build_stages


class Marker:
    """Appends its name to every record's source, and counts."""

    def __init__(self, name: str, *, fails_on: str = "") -> None:
        self.name = name
        self.count = 0
        self._fails_on = fails_on

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        if any(self._fails_on and self._fails_on in record.source for record in batch):
            raise KeyError("a secret of the record")
        self.count += len(batch)
        records = [msgspec.structs.replace(record, source=f"{record.source}>{self.name}") for record in batch]
        note = Notify(uid=self.name, tenant=DEFAULT_TENANT, key="", title="", text="")
        return Output(records=records, commands=[note])

    def tick(self, now: float) -> Output:
        if self._fails_on == "tick":
            raise ZeroDivisionError
        return Output(records=[observation(int(now), self.name)])

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.count)

    def restore(self, state: bytes) -> None:
        try:
            self.count = msgspec.msgpack.decode(state, type=int)
        except msgspec.DecodeError as error:
            raise InvalidInput("no count.") from error


def observation(n: int, source: str = "s") -> Observation:
    uid = record_uid(source, n)
    return Observation(uid=uid, tenant=DEFAULT_TENANT, time=1.0, source=source, data=StatusData(status="alive"))


def test_records_pass_all_stages_in_order_and_commands_are_gathered() -> None:
    output = Road([Marker("a"), Marker("b")]).feed([observation(1)], 2.0)
    assert [record.source for record in output.records] == ["s>a>b"]
    assert [command.uid for command in output.commands if isinstance(command, Notify)] == ["a", "b"]


def test_what_a_stage_says_on_a_tick_passes_the_stages_after_it() -> None:
    output = Road([Marker("a"), Marker("b"), Marker("c")]).tick(7.0)
    assert [record.source for record in output.records] == ["a>b>c", "b>c", "c"]


def test_a_failing_stage_costs_its_record_nothing_but_that_stage() -> None:
    road = Road([Marker("a"), Marker("bad", fails_on="poison"), Marker("c")])
    output = road.feed([observation(1), observation(2, "poison"), observation(3)], 5.0)
    letters = [record for record in output.records if isinstance(record, Event)]
    assert [r.source for r in output.records if isinstance(r, Observation)] == ["s>a>bad>c", "poison>a>c", "s>a>bad>c"]
    assert len(letters) == 1
    assert letters[0].parents == (record_uid("poison", 2),)
    assert isinstance(letters[0].data, StatusData)
    assert letters[0].data.status == "dead_letter"
    assert letters[0].data.detail.startswith("bad: KeyError at test_flow.py:")
    assert "secret" not in letters[0].message
    assert road.metrics["bad"].errors == 1
    assert road.metrics["a"].errors == 0


def test_dead_letters_are_bounded_and_all_are_counted() -> None:
    road = Road([Marker("bad", fails_on="poison")])
    output = road.feed([observation(n, "poison") for n in range(100)], 5.0)
    assert len(output.records) == 100 + DEAD_LETTERS_PER_BATCH
    assert road.metrics["bad"].errors == 100


def test_a_failing_tick_is_told_and_the_rest_goes_on() -> None:
    output = Road([Marker("bad", fails_on="tick"), Marker("b")]).tick(3.0)
    assert [type(record) for record in output.records] == [Event, Observation]


def test_a_snapshot_brings_every_stage_back_and_names_those_that_are_new() -> None:
    road = Road([Marker("a"), Marker("b")])
    road.feed([observation(1), observation(2)], 1.0)
    fresh = Road([Marker("a"), Marker("new"), Marker("b")])
    assert fresh.restore(road.snapshot()) == ("new",)
    assert [stage.count for stage in fresh.stages if isinstance(stage, Marker)] == [2, 0, 2]
    assert fresh.restore(msgspec.msgpack.encode({"a": b"\xc1", "b": b"\x05", "new": b"\x00"})) == ("a",)
    with pytest.raises(InvalidInput):
        fresh.restore(b"\xc1")


def test_stages_need_names_of_their_own() -> None:
    with pytest.raises(InvalidInput):
        Road([Marker("a"), Marker("a")])


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\xa1\xff", b"\x91" * 5000])
def test_stages_whose_state_cannot_be_read_begin_anew(data: bytes) -> None:
    road = Road(build_stages(RoadPlan(maker_of=lambda mac: "")).road())
    states = dict.fromkeys(road.metrics, data)
    empty = road.restore(msgspec.msgpack.encode(states))
    assert set(empty) == states.keys() - {"normalise"}  # it keeps nothing
    assert not road.feed([], 1.0).records
