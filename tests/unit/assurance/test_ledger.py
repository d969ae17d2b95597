import msgspec
import pytest

from tests.unit.assurance.builders import audit, road
from tests.unit.response.builders import NOW, device, finding
from tests.unit.sensing.samples import CASE
from thingward.assurance.ledger import GENESIS, LedgerBroken, LedgerStage, head_of, verify_chain
from thingward.model.codec import decode_json
from thingward.model.errors import InvalidInput
from thingward.model.finding import CaseNote, Finding
from thingward.model.principal import LedgerEntry

replace = msgspec.structs.replace


def links_of(output):
    return [record for record in output.records if isinstance(record, LedgerEntry)]


def test_every_step_is_a_link():
    links, ledger, _ = road()
    assert verify_chain(links) == ledger.tip("default")
    assert [link.sequence for link in links] == list(range(1, len(links) + 1))
    assert links[0].previous == GENESIS
    assert {link.kind for link in links} == {"rule", "finding", "case", "action", "outcome", "audit"}
    found = next(link for link in links if link.kind == "finding")
    assert isinstance(decode_json(found.body), Finding)


def test_what_is_no_step_is_no_link():
    stage = LedgerStage()
    assert links_of(stage.feed([device(1)], NOW)) == []
    assert len(links_of(stage.feed([finding(1), device(1)], NOW))) == 1


def test_the_same_content_is_recorded_once():
    stage = LedgerStage()
    assert len(links_of(stage.feed([finding(1), finding(1)], NOW))) == 1
    assert links_of(stage.feed([finding(1)], NOW + 9)) == []
    assert len(links_of(stage.feed([finding(1, severity=5)], NOW + 10))) == 1


def test_a_case_is_recorded_when_it_matters():
    stage = LedgerStage()
    assert len(links_of(stage.feed([CASE], NOW))) == 1
    grown = replace(CASE, finding_count=9, updated=NOW + 5)
    assert links_of(stage.feed([grown], NOW)) == []
    noted = replace(grown, timeline=(*grown.timeline, CaseNote(time=NOW, by="kim", text="seen it")))
    assert len(links_of(stage.feed([noted], NOW))) == 1
    assert len(links_of(stage.feed([replace(noted, assignee="kim")], NOW))) == 1


def test_tenants_have_chains_of_their_own():
    stage = LedgerStage()
    links = links_of(stage.feed([finding(1), replace(finding(2), tenant="other")], NOW))
    assert [link.sequence for link in links] == [1, 1]
    assert links[0].uid != links[1].uid


@pytest.mark.parametrize(
    "spoil",
    [
        lambda links: replace(links[2], body=links[2].body.replace("because", "perhaps")),
        lambda links: replace(links[2], digest="0" * 64),
        lambda links: replace(links[2], time=links[2].time + 1),
        lambda links: replace(links[2], record="f-9"),
        lambda links: replace(links[2], kind="audit"),
        lambda links: replace(links[2], previous="0" * 64),
        lambda links: replace(links[2], sequence=9),
        lambda links: replace(links[2], head="0" * 64),
    ],
)
def test_a_changed_link_is_named(spoil):
    links, _, _ = road()
    with pytest.raises(LedgerBroken):
        verify_chain([*links[:2], spoil(links), *links[3:]])


def test_a_missing_or_moved_link_is_named():
    links, _, _ = road()
    with pytest.raises(LedgerBroken):
        verify_chain([*links[:2], *links[3:]])
    with pytest.raises(LedgerBroken):
        verify_chain([links[1], links[0], *links[2:]])
    forged = replace(links[0], previous="1" * 64)
    forged = replace(forged, head=head_of("1" * 64, 1, forged.time, forged.kind, forged.record, forged.digest))
    with pytest.raises(LedgerBroken):
        verify_chain([forged])


def test_a_chain_can_be_checked_from_a_known_link_on():
    links, _, _ = road()
    verify_chain(links[3:], previous=links[2].head, sequence=3)
    with pytest.raises(LedgerBroken):
        verify_chain(links[3:], previous=links[1].head, sequence=3)
    with pytest.raises(LedgerBroken):
        verify_chain(links[3:], sequence=2)


def test_a_replay_after_a_crash_records_nothing_twice():
    stage = LedgerStage()
    first = links_of(stage.feed([finding(1)], NOW))
    checkpoint = stage.snapshot()
    later = links_of(stage.feed([finding(2), finding(3), CASE, audit(1, "d-1")], NOW + 1))
    again = LedgerStage()
    again.restore(checkpoint)
    again.adopt([*first, *later])
    assert again.tip("default") == stage.tip("default")
    # The replay brings the same records, in another order, and one that is new.
    fresh = links_of(again.feed([finding(3), CASE, finding(2), audit(1, "d-1"), finding(4)], NOW + 2))
    assert [link.record for link in fresh] == ["f-4"]
    verify_chain([*first, *later, *fresh])


def test_without_a_checkpoint_the_stored_ledger_goes_on():
    links, ledger, _ = road()
    other = LedgerStage()
    other.adopt(links)
    assert other.tip("default") == ledger.tip("default")
    with pytest.raises(LedgerBroken):
        LedgerStage().adopt([links[0], links[2]])


def test_snapshot_goes_on_where_it_was():
    _, ledger, _ = road()
    other = LedgerStage()
    other.restore(ledger.snapshot())
    assert links_of(other.feed([finding(9)], NOW)) == links_of(ledger.feed([finding(9)], NOW))
    with pytest.raises(InvalidInput):
        other.restore(b"nonsense")
