"""Who gets a certificate: one key for one token, names of their own, grace after the end, nothing after a revocation."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from tests.unit.runtime.test_desk import House, of
from thingward.identity.credentials import secret_digest
from thingward.identity.enrolment import DAY_S, EnrolmentRules, device_identity
from thingward.model import intent as intents
from thingward.model.certificate import REGISTRAR, Certificate, Claim, Enrolment, RequestSummary
from thingward.model.principal import AuditEntry, Role
from thingward.runtime.desk import Desk
from thingward.runtime.desk_enrolment import enrolment_handlers

RULES = EnrolmentRules(lifetime_s=10 * DAY_S, grace_s=5 * DAY_S)


class Office(House):
    """A desk for enrolment."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(enrolment_handlers(RULES))

    def claim(self, name: str = "pump-7", **more: Any) -> tuple[Claim, str]:
        new = intents.NewClaim(name=name, serial="A1", device=more.pop("device", ""))
        answer, records = self.ask(intents.CreateClaims(claims=(new,), **more))
        assert answer.ok, answer.message
        return of(records, Claim)[0], answer.secret

    def request(self, token: str = "", key: str = "k1", certificate: str = "", **fields: Any) -> Any:
        summary = RequestSummary(key=key, key_type="ec-p256", **{"common_name": "pump-7", **fields})
        body = intents.RequestCertificate(
            request=summary, token=secret_digest(token) if token else "", certificate=certificate
        )
        answer, records = self.ask(body, principal=REGISTRAR)
        found = of(records, Enrolment)
        return (answer, found[0] if found else None)

    def issue(self, enrolment: Enrolment, serial: str) -> Certificate:
        made = Certificate(
            uid=serial, tenant="default", time=self.now, source="registrar", name=enrolment.name,
            identity=enrolment.identity, key=enrolment.key, not_before=self.now,
            not_after=self.now + enrolment.lifetime_s, pem="", enrolment=enrolment.uid,
        )  # fmt: skip
        assert self.ask(intents.NoteCertificates(certificates=(made,)), principal=REGISTRAR)[0].ok
        return made

    def held(self, serial: str) -> Certificate:
        found = self.store.get("default", Certificate, serial)
        assert found is not None
        return found


@pytest.fixture
def office() -> Office:
    return Office()


def test_a_token_is_bound_to_the_key_of_its_first_request(office: Office) -> None:
    claim, token = office.claim()
    answer, enrolment = office.request(token)
    assert answer.ok
    assert (enrolment.state, enrolment.name, enrolment.serial, enrolment.claim) == (
        "approved",
        "pump-7",
        "A1",
        claim.uid,
    )
    assert 0.9 * RULES.lifetime_s <= enrolment.lifetime_s <= RULES.lifetime_s
    assert office.store.get("default", Claim, claim.uid).state == "bound"  # type: ignore[union-attr]
    assert office.request(token, key="k2")[0].code == "enrolment.refused"
    assert office.request(token)[1].uid == enrolment.uid, "the same key gets the same decision"
    audits = office.store.page("default", AuditEntry, where={"result": "enrolment.refused"}).items
    assert "another key" in audits[0].detail


def test_unknown_withdrawn_and_old_tokens_are_refused(office: Office) -> None:
    assert office.request("twc_guess")[0].status == 403
    claim, token = office.claim()
    assert office.ask(intents.WithdrawClaim(claim=claim.uid))[0].ok
    assert "withdrawn" in office.request(token)[0].message
    _, token = office.claim("pump-7", ttl_s=60.0)
    office.now += 61.0
    assert "past its end" in office.request(token)[0].message


@pytest.mark.parametrize(
    "foreign",
    [{"common_name": "pump-8"}, {"serial": "B2"}, {"names": ("dns:core.example",)}, {"names": ("uri:urn:uuid:1",)},
     {"names": ("other:IPAddress",)}],
)  # fmt: skip
def test_a_request_for_other_names_is_refused(office: Office, foreign: dict[str, Any]) -> None:
    _, token = office.claim()
    assert office.request(token, **foreign)[0].code == "enrolment.refused"
    identity = device_identity("default", "pump-7")
    assert office.request(token, names=("dns:pump-7", f"uri:{identity}"))[0].ok


def test_an_identity_is_a_uuid_and_stays_the_devices(office: Office) -> None:
    identity = device_identity("default", "d-1")
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", identity)
    _, token = office.claim(device="d-1")
    assert office.request(token)[1].identity == identity


def test_a_person_decides_where_the_claim_says_so(office: Office) -> None:
    _, token = office.claim(needs_approval=True)
    waiting = office.request(token)[1]
    assert waiting.state == "pending"
    decide = intents.DecideEnrolment(enrolment=waiting.uid, is_approved=True)
    assert office.ask(decide, role=Role.OPERATOR)[0].code == "access.forbidden"
    assert office.ask(decide, role=Role.APPROVER)[0].ok
    assert office.request(token)[1].state == "approved"
    assert office.ask(decide)[0].status == 409


def test_what_a_person_refused_stays_refused(office: Office) -> None:
    _, token = office.claim(needs_approval=True)
    waiting = office.request(token)[1]
    office.ask(intents.DecideEnrolment(enrolment=waiting.uid, is_approved=False))
    assert "refused" in office.request(token)[0].message


def test_renewal_may_change_the_key_and_keeps_the_name(office: Office) -> None:
    first = office.issue(office.request(office.claim()[1])[1], "aa")
    answer, renewal = office.request(certificate="aa", key="k2")
    assert answer.ok
    assert (renewal.replaces, renewal.identity, renewal.serial) == ("aa", first.identity, "A1")
    assert not renewal.is_late
    assert office.request(certificate="aa", key="k3", common_name="core")[0].code == "enrolment.refused"
    assert office.request(certificate="bb")[0].code == "enrolment.refused"


def test_an_expired_certificate_brings_its_device_back_within_the_grace(office: Office) -> None:
    first = office.issue(office.request(office.claim()[1])[1], "aa")
    office.now = first.not_after + 4 * DAY_S
    answer, renewal = office.request(certificate="aa", key="k2")
    assert answer.ok
    assert renewal.is_late
    assert "expired 4.0 days ago" in office.store.page("default", AuditEntry, limit=1).items[0].detail
    office.now = first.not_after + 6 * DAY_S
    assert "time of grace" in office.request(certificate="aa", key="k3")[0].message


def test_a_used_token_does_not_bring_an_expired_certificate_back(office: Office) -> None:
    token = office.claim(ttl_s=300 * DAY_S)[1]
    first = office.issue(office.request(token)[1], "aa")
    assert office.request(token)[0].ok, "the answer was lost: the same again"
    office.now = first.not_after + 1
    assert "Renew with the certificate" in office.request(token)[0].message


def test_a_revoked_device_is_out_with_every_certificate_and_key(office: Office) -> None:
    _, token = office.claim()
    office.issue(office.request(token)[1], "aa")
    office.issue(office.request(certificate="aa", key="k2")[1], "bb")
    answer, _ = office.ask(intents.RevokeCertificate(certificate="aa", reason="key_compromise"))
    assert len(answer.plan) == 2
    assert office.held("bb").state == "revoked"
    assert office.request(certificate="bb", key="k3")[0].code == "enrolment.refused"
    assert office.request(token)[0].code == "enrolment.refused"
    _, again = office.claim()
    assert "of this key was revoked" in office.request(again, key="k2")[0].message
    assert office.ask(intents.RevokeCertificate(certificate="aa"))[0].status == 409


def test_a_superseded_certificate_goes_alone(office: Office) -> None:
    office.issue(office.request(office.claim()[1])[1], "aa")
    office.issue(office.request(certificate="aa", key="k2")[1], "bb")
    assert office.ask(intents.RevokeCertificate(certificate="aa", reason="superseded"))[0].ok
    assert office.held("bb").state == "valid"
    assert office.request(certificate="bb", key="k1")[0].ok


def test_telling_again_takes_no_revocation_back(office: Office) -> None:
    made = office.issue(office.request(office.claim()[1])[1], "aa")
    office.ask(intents.RevokeCertificate(certificate="aa"))
    assert office.ask(intents.NoteCertificates(certificates=(made,)), principal=REGISTRAR)[0].ok
    assert office.held("aa").state == "revoked"
    foreign = msgspec.structs.replace(made, uid="cc", tenant="other")
    assert office.ask(intents.NoteCertificates(certificates=(foreign,)), principal=REGISTRAR)[0].code == "input.invalid"


def test_only_the_registrar_asks_for_certificates(office: Office) -> None:
    summary = RequestSummary(key="k", key_type="ec-p256")
    for body in (intents.RequestCertificate(request=summary, token="x"), intents.NoteCertificates(certificates=())):
        assert office.ask(body, principal="u-me", role=Role.ADMIN)[0].code == "access.forbidden"


def test_claims_name_devices_that_exist_and_wait_once(office: Office) -> None:
    office.claim()
    again = intents.CreateClaims(claims=(intents.NewClaim(name="pump-7"),))
    assert office.ask(again)[0].status == 409
    nobody = intents.CreateClaims(claims=(intents.NewClaim(name="x", device="d-none"),))
    assert office.ask(nobody)[0].status == 404
    assert office.ask(again, role=Role.VIEWER)[0].code == "access.forbidden"
