"""What a person or program asks of the platform: the server hands these to core, and only core acts on them."""

from __future__ import annotations

from typing import Literal

import msgspec

from thingward.model.action import Limits, ResponseRule
from thingward.model.certificate import Certificate, RequestSummary, RevocationReason
from thingward.model.principal import Role


class _Intent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all intents; `dry_run` plans and answers, and changes nothing."""

    dry_run: bool = False


class ApproveProfiles(_Intent, frozen=True, kw_only=True, tag="approve_profiles"):
    """Put learnt profiles in force for a device, all devices of a kind, or a site.

    Attributes:
        profile: for scope `device`: the profile uid that the person saw; a newer one is a Conflict.
    """

    scope: Literal["device", "kind", "site"]
    target: str
    profile: str = ""
    comment: str = ""
    include_unsettled: bool = False


class WithdrawApproval(_Intent, frozen=True, kw_only=True, tag="withdraw_approval"):
    """Take an approval back: the device is observed again."""

    approval: str
    comment: str = ""


class QuarantineDevice(_Intent, frozen=True, kw_only=True, tag="quarantine_device"):
    """Shut a device out for a time; `force` overrides the fleet limit (never the never-block list)."""

    device: str
    reason: str
    ttl_s: float = 3600.0
    case: str = ""
    force: bool = False


class ReleaseDevice(_Intent, frozen=True, kw_only=True, tag="release_device"):
    """Undo a device's quarantine and restore the exact state before it."""

    device: str
    reason: str = ""


class EditDevice(_Intent, frozen=True, kw_only=True, tag="edit_device"):
    """Correct what is said of a device; fields left None stay. A correction outranks all evidence."""

    device: str
    label: str | None = None
    kind: str | None = None
    maker: str | None = None
    model: str | None = None
    merge_into: str | None = None


class UpdateCase(_Intent, frozen=True, kw_only=True, tag="update_case"):
    """Add a note, assign, close or reopen a case."""

    case: str
    note: str = ""
    assignee: str | None = None
    state: Literal["open", "closed"] | None = None
    resolution: str = ""


class SuppressFindings(_Intent, frozen=True, kw_only=True, tag="suppress_findings"):
    """Say that findings of a kind are expected; all fields that are set must match.

    Attributes:
        rule: rule id, or a prefix ending in `*`.
        device: uid; empty means every device, and needs the role approver.
        key: only this matter (the finding's key).
        ttl_s: for how long; 0 means until it is removed.
    """

    rule: str
    reason: str
    device: str = ""
    key: str = ""
    ttl_s: float = 0.0


class RemoveSuppression(_Intent, frozen=True, kw_only=True, tag="remove_suppression"):
    """Take a suppression back: such findings are alerts again."""

    suppression: str


class PutRule(_Intent, frozen=True, kw_only=True, tag="put_rule"):
    """Create or replace a response rule."""

    rule: ResponseRule


class DeleteRule(_Intent, frozen=True, kw_only=True, tag="delete_rule"):
    """Delete a response rule."""

    rule: str


class PutLimits(_Intent, frozen=True, kw_only=True, tag="put_limits"):
    """Replace limits and the never-block list."""

    limits: Limits


class PutSetting(_Intent, frozen=True, kw_only=True, tag="put_setting"):
    """Change one setting of `docs/reference/settings.md` that may change at run time."""

    name: str
    value: str


class PutUser(_Intent, frozen=True, kw_only=True, tag="put_user"):
    """Create or change a user; `password` is in clear here and hashed by core, never stored or logged."""

    name: str
    role: Role
    password: str = ""
    email: str = ""
    disabled: bool = False


class SetPassword(_Intent, frozen=True, kw_only=True, tag="set_password"):
    """Set one's own password; `current` is the old one, not asked for where there was none."""

    password: str
    current: str = ""


class CreateToken(_Intent, frozen=True, kw_only=True, tag="create_token"):
    """Make a personal access token; the answer carries it once."""

    principal: str
    name: str
    scopes: tuple[str, ...] = ()
    ttl_s: float = 30 * 86400.0


class RevokeToken(_Intent, frozen=True, kw_only=True, tag="revoke_token"):
    """Revoke a token at once."""

    token: str


class CreateSession(_Intent, frozen=True, kw_only=True, tag="create_session"):
    """Sign in: by user and password, or by a one-time link's secret. The answer carries the cookie once."""

    user: str = ""
    password: str = ""
    link: str = ""


class CreateLoginLink(_Intent, frozen=True, kw_only=True, tag="create_login_link"):
    """Make a one-time link (15 minutes) for a user: how the first admin signs in."""

    user: str = "admin"


class EndSession(_Intent, frozen=True, kw_only=True, tag="end_session"):
    """Sign out."""

    session: str


class ImportRecords(_Intent, frozen=True, kw_only=True, tag="import_records"):
    """Take what `guard --save` or a dropped capture learnt: encoded batch of devices, profiles, findings."""

    source: str
    batch: bytes


class ImportFlowLog(_Intent, frozen=True, kw_only=True, tag="import_observations"):
    """Take observations from a push source (REST, syslog): encoded batch, recorded as that source."""

    source: str
    batch: bytes


class ImportPack(_Intent, frozen=True, kw_only=True, tag="import_pack"):
    """Keep a list of indicators (plain, CSV or STIX 2) and look for them from now on; one of the name is replaced."""

    name: str
    text: bytes
    confidence: float = 0.8


class RemovePack(_Intent, frozen=True, kw_only=True, tag="remove_pack"):
    """Forget a list of indicators; detection no longer looks for them."""

    name: str


class LoadPacks(_Intent, frozen=True, kw_only=True, tag="load_packs"):
    """Load all lists of the data folder anew: they were changed there."""


class TestNotification(_Intent, frozen=True, kw_only=True, tag="test_notification"):
    """Send a test message through one channel (`webhook`, `email`, `syslog`)."""

    channel: str


class ExportEvidence(_Intent, frozen=True, kw_only=True, tag="export_evidence"):
    """Make a signed evidence bundle for a case, a device or the whole tenant; the answer carries its path."""

    scope: Literal["case", "device", "tenant"]
    target: str = ""


class NoteExport(_Intent, frozen=True, kw_only=True, tag="note_export"):
    """Leave an audit entry: something was handed out (`profile`, `site`, `evidence`) in a form (`mud`, `csv` ...)."""

    what: str
    target: str = ""
    form: str = ""


class NewClaim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said of a device that is to enrol; `device` is its uid in the inventory, if it is known."""

    name: str
    serial: str = ""
    kind: str = ""
    device: str = ""


class CreateClaims(_Intent, frozen=True, kw_only=True, tag="create_claims"):
    """Make one-time tokens for devices; the answer carries them once, one a line, in the order of the records."""

    claims: tuple[NewClaim, ...]
    ttl_s: float = 7 * 86400.0
    needs_approval: bool = False


class WithdrawClaim(_Intent, frozen=True, kw_only=True, tag="withdraw_claim"):
    """Make a claim's token useless; certificates that came of it stay."""

    claim: str


class DecideEnrolment(_Intent, frozen=True, kw_only=True, tag="decide_enrolment"):
    """Approve or refuse an enrolment that waits for a person."""

    enrolment: str
    is_approved: bool
    reason: str = ""


class RevokeCertificate(_Intent, frozen=True, kw_only=True, tag="revoke_certificate"):
    """Revoke a certificate for good; its device needs a new claim."""

    certificate: str
    reason: RevocationReason = "unspecified"


class RequestCertificate(_Intent, frozen=True, kw_only=True, tag="request_certificate"):
    """The registrar asks whether a request may have a certificate; the answer carries the Enrolment.

    Attributes:
        token: digest of the claim's token, empty on renewal.
        certificate: serial of the client certificate that the request came with, verified but for time and revocation.
    """

    request: RequestSummary
    token: str = ""
    certificate: str = ""


class NoteCertificates(_Intent, frozen=True, kw_only=True, tag="note_certificates"):
    """The registrar tells which certificates it issued; one that is known already stays as it is."""

    certificates: tuple[Certificate, ...]


class StartAttack(_Intent, frozen=True, kw_only=True, tag="start_attack"):
    """Demo only: let one simulated device turn Mirai-like; refused outside the demo."""

    device: str = ""


IntentBody = (
    ApproveProfiles
    | WithdrawApproval
    | QuarantineDevice
    | ReleaseDevice
    | EditDevice
    | UpdateCase
    | SuppressFindings
    | RemoveSuppression
    | PutRule
    | DeleteRule
    | PutLimits
    | PutSetting
    | PutUser
    | SetPassword
    | CreateToken
    | RevokeToken
    | CreateSession
    | CreateLoginLink
    | EndSession
    | ImportRecords
    | ImportFlowLog
    | ImportPack
    | RemovePack
    | LoadPacks
    | TestNotification
    | ExportEvidence
    | NoteExport
    | CreateClaims
    | WithdrawClaim
    | DecideEnrolment
    | RevokeCertificate
    | RequestCertificate
    | NoteCertificates
    | StartAttack
)


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a principal.

    Attributes:
        uid: idempotency key: the same uid is answered with the first answer, and done once.
        principal: who asks; `role` is what core checks again.
    """

    uid: str
    tenant: str
    principal: str
    role: Role
    time: float
    address: str = ""
    body: IntentBody


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of an intent.

    Attributes:
        ok: it was done (or, on dry run, could be).
        code, message, status: of the error, as in `ThingwardError`.
        records: encoded batch of the records made or changed.
        plan: plain lines of what was or would be done.
        secret: shown once (token, cookie, link), never logged or stored.
        path: file that was written, if any.
    """

    ok: bool
    code: str = ""
    message: str = ""
    status: int = 200
    retryable: bool = False
    records: bytes = b""
    plan: tuple[str, ...] = ()
    secret: str = ""
    path: str = ""
