"""Who may do what: one table for roles, one for token scopes, asked by the server and once more by core."""

from __future__ import annotations

from typing import Final

from thingward.model.certificate import REGISTRAR
from thingward.model.errors import Forbidden
from thingward.model.intent import (
    ApproveProfiles,
    CreateClaims,
    CreateLoginLink,
    CreateSession,
    CreateToken,
    DecideEnrolment,
    DeleteRule,
    EditDevice,
    EndSession,
    ExportEvidence,
    ImportFlowLog,
    ImportPack,
    ImportRecords,
    Intent,
    IntentBody,
    LoadPacks,
    NoteCertificates,
    NoteExport,
    PutLimits,
    PutRule,
    PutSetting,
    PutUser,
    QuarantineDevice,
    ReleaseDevice,
    RemovePack,
    RemoveSuppression,
    RequestCertificate,
    RevokeCertificate,
    RevokeToken,
    SetPassword,
    StartAttack,
    SuppressFindings,
    TestNotification,
    UpdateCase,
    WithdrawApproval,
    WithdrawClaim,
)
from thingward.model.principal import Role

_RANK: Final = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.APPROVER: 2, Role.ADMIN: 3}

#: Intent class to (least role, token scope).
REQUIRED: Final[dict[type[IntentBody], tuple[Role, str]]] = {
    ApproveProfiles: (Role.APPROVER, "approvals:write"),
    WithdrawApproval: (Role.APPROVER, "approvals:write"),
    QuarantineDevice: (Role.OPERATOR, "actions:write"),
    ReleaseDevice: (Role.OPERATOR, "actions:write"),
    EditDevice: (Role.OPERATOR, "devices:write"),
    UpdateCase: (Role.OPERATOR, "cases:write"),
    SuppressFindings: (Role.OPERATOR, "findings:write"),
    RemoveSuppression: (Role.OPERATOR, "findings:write"),
    PutRule: (Role.APPROVER, "rules:write"),
    DeleteRule: (Role.APPROVER, "rules:write"),
    PutLimits: (Role.ADMIN, "settings:write"),
    PutSetting: (Role.ADMIN, "settings:write"),
    PutUser: (Role.ADMIN, "users:write"),
    SetPassword: (Role.VIEWER, "sessions:write"),
    CreateToken: (Role.VIEWER, "tokens:write"),
    RevokeToken: (Role.VIEWER, "tokens:write"),
    CreateSession: (Role.VIEWER, "sessions:write"),
    CreateLoginLink: (Role.ADMIN, "users:write"),
    EndSession: (Role.VIEWER, "sessions:write"),
    ImportRecords: (Role.OPERATOR, "captures:write"),
    ImportFlowLog: (Role.OPERATOR, "observations:write"),
    ImportPack: (Role.APPROVER, "rules:write"),
    RemovePack: (Role.APPROVER, "rules:write"),
    LoadPacks: (Role.APPROVER, "rules:write"),
    TestNotification: (Role.ADMIN, "settings:write"),
    ExportEvidence: (Role.OPERATOR, "evidence:read"),
    NoteExport: (Role.VIEWER, "devices:read"),
    CreateClaims: (Role.OPERATOR, "certificates:write"),
    WithdrawClaim: (Role.OPERATOR, "certificates:write"),
    DecideEnrolment: (Role.APPROVER, "certificates:write"),
    RevokeCertificate: (Role.OPERATOR, "certificates:write"),
    RequestCertificate: (Role.ADMIN, "certificates:write"),
    NoteCertificates: (Role.ADMIN, "certificates:write"),
    StartAttack: (Role.OPERATOR, "demo:write"),
}

#: What only the registrar asks for; no operation of the API offers it.
REGISTRAR_ONLY: Final = (RequestCertificate, NoteCertificates)

#: Scopes of reading; `*` is all of both.
READ_SCOPES: Final = (
    "devices:read",
    "findings:read",
    "cases:read",
    "actions:read",
    "approvals:read",
    "rules:read",
    "events:read",
    "audit:read",
    "settings:read",
    "users:read",
    "tokens:read",
    "captures:read",
    "evidence:read",
    "status:read",
    "certificates:read",
)
ALL_SCOPES: Final = tuple(sorted({*READ_SCOPES, *(scope for _, scope in REQUIRED.values())}))


def covers(role: Role, needed: Role) -> bool:
    """Tell whether a role includes another."""
    return _RANK[role] >= _RANK[needed]


def has_scope(scopes: tuple[str, ...], needed: str) -> bool:
    """Tell whether a token's scopes include one; `x:write` includes `x:read`."""
    if "*" in scopes or needed in scopes:
        return True
    subject, _, verb = needed.partition(":")
    return verb == "read" and f"{subject}:write" in scopes


def verify_allowed(intent: Intent) -> None:
    """Raise Forbidden if the principal's role does not cover the intent.

    Quarantine by force, and suppressing findings of every device, need an approver.
    """
    body = intent.body
    needed, _ = REQUIRED[type(body)]
    is_wide = isinstance(body, SuppressFindings) and not body.device
    if is_wide or (isinstance(body, QuarantineDevice) and body.force):
        needed = Role.APPROVER
    if isinstance(body, REGISTRAR_ONLY) and intent.principal != REGISTRAR:
        raise Forbidden("only the registrar may ask for this.")
    if not covers(intent.role, needed):
        raise Forbidden(f"this needs the role {needed}; {intent.principal} has {intent.role}.", hint="Ask an admin.")
