"""A ledger with two cases, for tests of evidence."""

import msgspec

from tests.unit.response.builders import NOW, asked, finding, fleet, outcome, rule
from thingward.assurance.ledger import LedgerStage
from thingward.model.ids import DEFAULT_TENANT, Uid
from thingward.model.principal import AuditEntry, LedgerEntry
from thingward.response.stage import ResponseStage


def audit(n, target, **fields):
    defaults = {"principal": "kim", "action": "quarantine_device", "parents": ("i-1",)}
    return AuditEntry(
        uid=Uid(f"a-{n}"), tenant=DEFAULT_TENANT, time=NOW, source="core", target=target, **{**defaults, **fields}
    )


def road():
    """Play two incidents: d-5 is shut out by a rule, d-6 by a person; gives all links."""
    response, ledger = ResponseStage(), LedgerStage()
    links = []

    def play(records, now):
        out = ledger.feed(response.feed(records, now).records, now)
        links.extend(record for record in out.records if isinstance(record, LedgerEntry))

    play([*fleet(), rule(rules=("scan.*",))], NOW)
    play([finding(1)], NOW + 1)
    play([outcome(response.situation("default").quarantines["d-5"], time=NOW + 1.5)], NOW + 1.5)
    play([finding(2, rule="flood.syn", dev="d-6", suggested=())], NOW + 2)
    plan = asked(response, "d-6", now=NOW + 3)
    play([*plan.records, audit(1, "d-6")], NOW + 3)
    play([outcome(plan.records[0], time=NOW + 3.1)], NOW + 3.1)
    play([audit(2, "kim", action="create_session", parents=("i-9",))], NOW + 4)
    return links, ledger, response


def case_of(links, device):
    return next(e.record for e in links if e.kind == "case" and msgspec.json.decode(e.body).get("device") == device)
