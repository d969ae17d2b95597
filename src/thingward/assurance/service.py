"""Gathers what a bundle needs from the control store and has it signed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from thingward.assurance.bundle import BundleRequest, Seal, build_bundle
from thingward.model.codec import AnyRecord
from thingward.model.device import Device
from thingward.model.errors import InvalidInput, NotFound
from thingward.model.event import Event
from thingward.model.finding import Case
from thingward.model.ids import hashed_uid
from thingward.model.intent import ExportEvidence
from thingward.model.principal import LedgerEntry
from thingward.model.profile import MudProfile
from thingward.ports.control_store import ControlStore
from thingward.ports.signer import Signer

PAGE = 1000
MAX_ENTRIES = 1_000_000
MAX_PROFILES = 50


class EvidenceService:
    """Makes evidence bundles.

    Args:
        version: of the platform, named in the bundle.
    """

    def __init__(self, signer: Signer, *, version: str = "") -> None:
        self._signer = signer
        self._version = version

    def key_id(self) -> str:
        """Name the key that signs: what whoever checks a bundle compares with."""
        return self._signer.key_id()

    def export(
        self, tenant: str, body: ExportEvidence, control: ControlStore, now: float, events: Sequence[Event] = ()
    ) -> tuple[str, bytes]:
        """Make a bundle.

        Args:
            events: what the findings were made of, if the event store still has it.

        Returns:
            A file name, and the zip file.

        Raises:
            NotFound: there is no such case or device, or the ledger says nothing about it.
            LedgerBroken: the stored ledger does not hold together.
            InvalidInput: the ledger is too long for one bundle.
        """
        device = self._device_of(tenant, body, control)
        target = f"-{hashed_uid(body.target)[:8]}" if body.target else ""
        name = f"evidence-{body.scope}{target}-{int(now)}.zip"
        request = BundleRequest(
            tenant=tenant, scope=body.scope, target=body.target, now=now, name=name, version=self._version
        )
        records: list[AnyRecord] = [*_about(tenant, device, control), *events]
        seal = Seal(self._signer.sign, self._signer.public_pem(), self._signer.key_id())
        return name, build_bundle(request, read_ledger(tenant, control), records, seal, verifier_source())

    def _device_of(self, tenant: str, body: ExportEvidence, control: ControlStore) -> str:
        if body.scope == "tenant":
            return ""
        if body.scope == "device":
            if control.get(tenant, Device, body.target) is None:
                raise NotFound(f"there is no device {body.target!r}.")
            return body.target
        case = control.get(tenant, Case, body.target)
        if case is None:
            raise NotFound(f"there is no case {body.target!r}.")
        return case.device


def read_ledger(tenant: str, control: ControlStore) -> list[LedgerEntry]:
    """Read a tenant's whole ledger, oldest first."""
    entries: list[LedgerEntry] = []
    cursor = ""
    while True:
        page = control.page(tenant, LedgerEntry, cursor=cursor, limit=PAGE, newest_first=False)
        entries += page.items
        cursor = page.cursor
        if len(entries) > MAX_ENTRIES:
            raise InvalidInput(f"the ledger has more than {MAX_ENTRIES} links.", hint="Export single cases or devices.")
        if not cursor:
            return sorted(entries, key=lambda entry: entry.sequence)


def _about(tenant: str, device: str, control: ControlStore) -> list[AnyRecord]:
    if not device:
        return []
    held = control.get(tenant, Device, device)
    profiles = control.page(tenant, MudProfile, where={"device": device}, limit=MAX_PROFILES).items
    return [*([held] if held else []), *profiles]


def verifier_source() -> bytes:
    """Give the source of the script that checks bundles."""
    return (resources.files("thingward.assurance") / "verify_bundle.py").read_bytes()
