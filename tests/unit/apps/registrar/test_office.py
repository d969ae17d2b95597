"""The registrar without sockets: nothing is issued without core, nothing issued is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509

from tests.unit.identity.csrs import KEY, OTHER_KEY, csr
from tests.unit.runtime.test_desk import of
from tests.unit.runtime.test_desk_enrolment import Office as Desk
from thingward.adapters.authority.file import FileAuthority
from thingward.apps.registrar.issued import IssuedLog
from thingward.apps.registrar.office import Office, Refused
from thingward.apps.registrar.web import MAX_ADDRESSES, MAX_REFUSALS, REFUSALS_S, RefusalGuard
from thingward.identity.requests import ParsedRequest, read_request
from thingward.model import intent as intents
from thingward.model.certificate import Certificate
from thingward.model.errors import LimitExceeded, Unavailable
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.intent import Answer, Intent


class House:
    """A registrar with a core that can go away, before or after it decided."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.desk = Desk()
        self.desk.now = 1_800_000_000.0
        self.away: tuple[type, ...] = ()
        self.authority = FileAuthority(folder / "ca", site="home", passphrase=b"", now=self.desk.now)
        self.office = self.start()

    def start(self) -> Office:
        return Office(
            self.authority,
            IssuedLog(self.folder / "issued.db"),
            self.ask,
            lambda: self.desk.store,
            tenant=DEFAULT_TENANT,
            url="http://ca.example:8445",
            clock=lambda: self.desk.now,
        )

    async def ask(self, intent: Intent) -> Answer:
        if isinstance(intent.body, self.away):
            raise Unavailable("core is away")
        return self.desk.ask(intent.body, role=intent.role, principal=intent.principal)[0]

    def enrol(self, token: str = "", *, key: object = KEY, certificate: str = "") -> x509.Certificate | None:
        request = read_request(csr(key=key))
        assert isinstance(request, ParsedRequest)
        der = asyncio.run(self.office.enrol(request, token=token, certificate=certificate, address="192.0.2.1"))
        return x509.load_der_x509_certificate(der) if der else None

    def known(self) -> Sequence[Certificate]:
        return self.desk.store.page("default", Certificate).items


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_certificate_is_issued_kept_and_told(house: House) -> None:
    made = house.enrol(house.desk.claim()[1])
    assert made is not None
    (known,) = house.known()
    assert known.uid == f"{made.serial_number:x}"
    assert known.not_after == made.not_valid_after_utc.timestamp()
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [known.identity]


def test_without_core_nothing_is_issued(house: House) -> None:
    token = house.desk.claim()[1]
    house.away = (intents.RequestCertificate,)
    with pytest.raises(Unavailable):
        house.enrol(token)
    assert not house.known()


def test_the_same_request_again_gets_the_same_certificate_also_from_a_new_process(house: House) -> None:
    token = house.desk.claim()[1]
    first = house.enrol(token)
    assert house.enrol(token) == first
    house.office.close()
    house.office = house.start()
    assert house.enrol(token) == first
    assert len(house.known()) == 1
    with pytest.raises(Refused):
        house.enrol(token, key=OTHER_KEY)


def test_what_core_did_not_hear_it_is_told_by_the_next_process(house: House) -> None:
    house.away = (intents.NoteCertificates,)
    made = house.enrol(house.desk.claim()[1])
    assert made is not None
    assert not house.known()
    house.away = ()
    house.office = house.start()
    asyncio.run(house.office.tell())
    assert [row.uid for row in house.known()] == [f"{made.serial_number:x}"]


def test_while_a_person_decides_there_is_no_certificate(house: House) -> None:
    _, token = house.desk.claim(needs_approval=True)
    assert house.enrol(token) is None
    assert not house.known()


def test_revocations_are_in_the_list_at_once_and_hold_without_the_store(house: House) -> None:
    made = house.enrol(house.desk.claim()[1])
    assert made is not None
    serial = f"{made.serial_number:x}"
    assert not list(x509.load_der_x509_crl(house.office.crl()))
    _, records = house.desk.ask(intents.RevokeCertificate(certificate=serial, reason="key_compromise"))
    assert of(records, Certificate)
    assert [f"{row.serial_number:x}" for row in x509.load_der_x509_crl(house.office.crl())] == [serial]

    def gone() -> None:
        raise Unavailable("the control store is away")

    house.office = Office(
        house.authority, IssuedLog(house.folder / "issued.db"), house.ask, gone,  # type: ignore[arg-type]
        tenant=DEFAULT_TENANT, url="", clock=lambda: house.desk.now,
    )  # fmt: skip
    assert house.office.is_revoked(serial)
    assert [f"{row.serial_number:x}" for row in x509.load_der_x509_crl(house.office.crl())] == [serial]


def test_an_address_that_guesses_has_to_wait_and_the_table_is_bounded() -> None:
    now = [0.0]
    guard = RefusalGuard(lambda: now[0])
    for _ in range(MAX_REFUSALS):
        guard.verify_open("192.0.2.1")
        guard.refused("192.0.2.1")
    with pytest.raises(LimitExceeded):
        guard.verify_open("192.0.2.1")
    guard.verify_open("192.0.2.2")
    now[0] = REFUSALS_S + 1
    guard.verify_open("192.0.2.1")
    for number in range(MAX_ADDRESSES + 10):
        guard.refused(str(number))
    assert len(guard._refused) == MAX_ADDRESSES
