"""What goes over the API besides the records of `thingward.model`: requests, results, views without secrets."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from thingward.apps.server.backend import ProcessHealth, SourceHealth
from thingward.model.certificate import Claim, RevocationReason
from thingward.model.principal import Principal, Role, Session, Token
from thingward.ports.control_store import Page
from thingward.ports.enforcer import EnforcerStatus
from thingward.runtime.pack_info import PackInfo

T = TypeVar("T")

Uid = Annotated[str, Meta(min_length=1, max_length=120)]
Text = Annotated[str, Meta(max_length=2000)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]


class PageOf(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page; give `cursor` back to get the next one."""

    items: Annotated[tuple[T, ...], Meta(description="Newest first unless said otherwise.")]
    cursor: Annotated[str, Meta(description="Cursor of the next page; empty at the end.")] = ""


def page_of(page: Page[Any]) -> PageOf[Any]:
    """Turn a page of the control store into one of the API."""
    return PageOf(items=page.items, cursor=page.cursor)


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of requests: a field that we do not know is an error, not silence."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a change, or on dry run what would come of it."""

    dry_run: Annotated[bool, Meta(description="Nothing was changed.")] = False
    plan: Annotated[tuple[str, ...], Meta(description="What was or would be done, in plain lines.")] = ()
    records: Annotated[
        tuple[dict[str, Any], ...], Meta(description="Records made or changed, each with its `type`.")
    ] = ()


class DeviceChange(_Request, frozen=True, kw_only=True):
    """A person's correction; it outranks all evidence. Fields left out stay."""

    label: Annotated[str, Meta(max_length=100, examples=["Hall camera"])] | None = None
    kind: Annotated[str, Meta(max_length=40, examples=["camera"])] | None = None
    maker: Annotated[str, Meta(max_length=100)] | None = None
    model: Annotated[str, Meta(max_length=100)] | None = None
    merge_into: (
        Annotated[str, Meta(max_length=120, description="Uid of the device that this one is the same as.")] | None
    ) = None


class Quarantine(_Request, frozen=True, kw_only=True):
    """Shut a device out for a time."""

    device: Annotated[Uid, Meta(description="Uid of the device.")]
    reason: Annotated[str, Meta(min_length=1, max_length=500, examples=["scans the site for telnet"])]
    ttl_s: Annotated[
        float, Meta(gt=0, description="How long, in seconds; the kernel ends it by itself.", examples=[3600])
    ] = 3600.0
    case: Annotated[str, Meta(max_length=120, description="Uid of the case that it belongs to.")] = ""
    force: Annotated[
        bool, Meta(description="Override the fleet limit (never the never-block list); needs the role approver.")
    ] = False


class Release(_Request, frozen=True, kw_only=True):
    """Undo a device's quarantine."""

    device: Annotated[Uid, Meta(description="Uid of the device.")]
    reason: Text = ""


class Approve(_Request, frozen=True, kw_only=True):
    """Put learnt profiles in force."""

    scope: Literal["device", "kind", "site"]
    target: Annotated[Name, Meta(description="Uid of the device, or name of the kind or site.", examples=["camera"])]
    profile: Annotated[
        str,
        Meta(max_length=120, description="For a device: uid of the profile that you saw; a newer one is a conflict."),
    ] = ""
    comment: Text = ""
    include_unsettled: Annotated[bool, Meta(description="Also those that have not settled yet.")] = False


class Comment(_Request, frozen=True, kw_only=True):
    """A comment that is kept with the step."""

    comment: Text = ""


class Note(_Request, frozen=True, kw_only=True):
    """A line for a case's timeline."""

    note: Annotated[str, Meta(min_length=1, max_length=2000, examples=["Called the owner: not expected."])]


class CaseChange(_Request, frozen=True, kw_only=True):
    """Close, reopen or assign a case. Fields left out stay."""

    state: Literal["open", "closed"] | None = None
    assignee: Annotated[str, Meta(max_length=100)] | None = None
    resolution: Annotated[Text, Meta(examples=["false alarm: the scanner is ours"])] = ""


class SuppressionBody(_Request, frozen=True, kw_only=True):
    """Findings that are expected: all fields that are set must match."""

    rule: Annotated[
        str,
        Meta(min_length=1, max_length=101, description="Rule id, or a prefix that ends in `*`.", examples=["scan.*"]),
    ]
    reason: Annotated[str, Meta(min_length=1, max_length=500, examples=["our own scanner, every night"])]
    device: Annotated[
        str, Meta(max_length=120, description="Uid of the device; empty means every device: needs the role approver.")
    ] = ""
    key: Annotated[str, Meta(max_length=1000, description="Only this matter: the finding's `key`.")] = ""
    ttl_s: Annotated[
        float,
        Meta(ge=0, le=3660 * 86400.0, description="How long, in seconds; 0: until it is removed.", examples=[2592000]),
    ] = 0.0


class RuleBody(_Request, frozen=True, kw_only=True):
    """A response rule: when such a finding comes, do that, within limits."""

    name: Name
    site: Annotated[str, Meta(max_length=100, description="Only this site; empty means all.")] = ""
    rules: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...],
        Meta(
            description="Finding rule ids, or prefixes that end in `*`.",
            min_length=1,
            max_length=100,
            examples=[["scan.*"]],
        ),
    ] = ("*",)
    min_severity: Annotated[int, Meta(ge=1, le=5)] = 4
    min_confidence: Annotated[float, Meta(ge=0, le=1)] = 0.7
    kinds: Annotated[
        tuple[str, ...], Meta(max_length=100, description="Only devices of these kinds; empty means all.")
    ] = ()
    action: Literal["quarantine", "notify"] = "quarantine"
    ttl_s: Annotated[float, Meta(gt=0, le=31 * 86400.0)] = 3600.0
    enabled: bool = False


class LimitsBody(_Request, frozen=True, kw_only=True):
    """Bounds that every enforcer honours."""

    fleet_share_per_hour: Annotated[
        float, Meta(gt=0, le=1, description="At most this share of a site's devices is quarantined per hour.")
    ] = 0.10
    min_devices_per_hour: Annotated[int, Meta(ge=0, le=100_000, description="But this many are always possible.")] = 1
    max_ttl_s: Annotated[float, Meta(gt=0, description="Longest quarantine, in seconds.")] = 7 * 86400.0
    never_block: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...],
        Meta(max_length=10_000, description="Hardware addresses, addresses or prefixes.", examples=[["192.168.1.1"]]),
    ] = ()


class UserBody(_Request, frozen=True, kw_only=True):
    """A user to create or change. An empty password leaves the old one."""

    role: Role
    password: Annotated[str, Meta(max_length=1024)] = ""
    email: Annotated[str, Meta(max_length=254)] = ""
    disabled: bool = False


class PasswordBody(_Request, frozen=True, kw_only=True):
    """A new password for oneself."""

    password: Annotated[str, Meta(min_length=12, max_length=1024)]
    current: Annotated[str, Meta(max_length=1024, description="The old one; not asked for if there was none.")] = ""


class TokenBody(_Request, frozen=True, kw_only=True):
    """A token to make."""

    name: Name
    scopes: Annotated[
        tuple[Annotated[str, Meta(max_length=40)], ...],
        Meta(min_length=1, max_length=60, examples=[["devices:read", "findings:read"]]),
    ]
    ttl_s: Annotated[float, Meta(gt=0, le=366 * 86400.0, description="How long it lives, in seconds.")] = 30 * 86400.0
    principal: Annotated[str, Meta(max_length=120, description="Uid of its owner; empty means yourself.")] = ""


class SignIn(_Request, frozen=True, kw_only=True):
    """User name and password, or the secret of a one-time link."""

    user: Annotated[str, Meta(max_length=64)] = ""
    password: Annotated[str, Meta(max_length=1024)] = ""
    link: Annotated[str, Meta(max_length=200)] = ""


class SettingBody(_Request, frozen=True, kw_only=True):
    """A value for one setting."""

    value: Annotated[str, Meta(max_length=1000, examples=["4"])]


class ChannelBody(_Request, frozen=True, kw_only=True):
    """Which channel to test."""

    channel: Literal["webhook", "email", "syslog"]


class EvidenceBody(_Request, frozen=True, kw_only=True):
    """What to prove: one case, one device, or everything."""

    scope: Literal["case", "device", "tenant"]
    target: Annotated[str, Meta(max_length=120, description="Uid of the case or device; empty for everything.")] = ""


class AttackBody(_Request, frozen=True, kw_only=True):
    """Which simulated device turns bad; empty lets the demo choose."""

    device: Annotated[str, Meta(max_length=120)] = ""


class UserView(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="user"):
    """A user, without secrets."""

    uid: str
    name: str
    role: Role
    email: str = ""
    disabled: bool = False
    has_password: bool = False
    time: Annotated[float, Meta(description="Last change, seconds since 1970.")] = 0.0
    last_seen: Annotated[float, Meta(description="Last sign-in, seconds since 1970, 0 if never.")] = 0.0


class TokenView(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="token"):
    """A token, without its secret."""

    uid: str
    principal: str
    name: str
    scopes: tuple[str, ...]
    time: float
    expires: float
    revoked: bool = False
    last_used: float = 0.0


class TokenMade(msgspec.Struct, frozen=True, kw_only=True):
    """A new token: the secret is shown this once."""

    token: TokenView
    secret: Annotated[str, Meta(description="Send it as `Authorization: Bearer ...`.", examples=["twt_..."])]


class SessionView(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="session"):
    """A session, without its secret."""

    uid: str
    principal: str
    expires: float


class SessionMade(msgspec.Struct, frozen=True, kw_only=True):
    """A new session; the cookie is set too."""

    session: SessionView
    csrf: Annotated[str, Meta(description="Send it as `X-CSRF-Token` with every change that uses the cookie.")]


class ClaimBody(_Request, frozen=True, kw_only=True):
    """A device that is to enrol."""

    name: Annotated[
        str,
        Meta(min_length=1, max_length=64, description="Common name of its certificate.", examples=["pump-7"]),
    ]
    serial: Annotated[str, Meta(max_length=64, description="The maker's serial number.")] = ""
    kind: Annotated[str, Meta(max_length=64, examples=["pump"])] = ""
    device: Annotated[str, Meta(max_length=120, description="Its uid, if it is in the inventory.")] = ""


class ClaimsBody(_Request, frozen=True, kw_only=True):
    """Devices that are to enrol: as a list, or as the text of a CSV file."""

    claims: Annotated[tuple[ClaimBody, ...], Meta(max_length=10_000)] = ()
    csv: Annotated[
        str,
        Meta(
            description="A header line with `name` and any of `serial`, `kind`, `device`, then a line for each device.",
            examples=["name,serial\npump-7,A1700\n"],
        ),
    ] = ""
    ttl_s: Annotated[float, Meta(gt=0, le=366 * 86400.0, description="How long the tokens can be used.")] = 7 * 86400.0
    needs_approval: Annotated[bool, Meta(description="A person decides once the device has asked.")] = False


class ClaimView(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="claim"):
    """A claim, without its token."""

    uid: str
    name: str
    time: float
    expires: float
    state: Annotated[
        Literal["open", "bound", "withdrawn"], Meta(description="`bound`: a key came and no other may use it.")
    ]
    serial: str = ""
    kind: str = ""
    device: str = ""
    needs_approval: bool = False
    key: Annotated[str, Meta(description="SHA-256 of the public key that it is bound to.")] = ""
    by: str = ""


class ClaimsMade(msgspec.Struct, frozen=True, kw_only=True):
    """New claims: the tokens are shown this once."""

    claims: tuple[ClaimView, ...]
    tokens: Annotated[tuple[str, ...], Meta(description="In the order of the claims.", examples=[["twc_..."]])]
    dry_run: Annotated[bool, Meta(description="Nothing was made.")] = False
    plan: tuple[str, ...] = ()


class Reason(_Request, frozen=True, kw_only=True):
    """Why, kept with the decision."""

    reason: Annotated[str, Meta(max_length=500)] = ""


class Revoke(_Request, frozen=True, kw_only=True):
    """Why a certificate is revoked (RFC 5280 section 5.3.1)."""

    reason: RevocationReason = "unspecified"


class LinkMade(msgspec.Struct, frozen=True, kw_only=True):
    """A one-time login link: whoever opens it first within 15 minutes signs in."""

    path: Annotated[str, Meta(examples=["/login/twl_..."])]


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking, and what the platform is."""

    user: UserView
    scopes: Annotated[tuple[str, ...], Meta(description="Scopes of the token; `*` for a session.")]
    version: str
    tenant: str
    demo: bool = False


class PackView(msgspec.Struct, frozen=True, kw_only=True):
    """An indicator pack in use."""

    name: str
    version: Annotated[str, Meta(description="Beginning of the SHA-256 of the list as it was imported.")]
    imported: Annotated[float, Meta(description="Seconds since 1970.")]
    age_s: float
    count: Annotated[int, Meta(description="Indicators.")]
    refused: Annotated[int, Meta(description="Lines that were none.")] = 0
    confidence: float = 0.8


class StatusView(msgspec.Struct, frozen=True, kw_only=True):
    """How the platform is: processes, sources with their blind time, store, enforcer."""

    version: str
    ready: Annotated[bool, Meta(description="Core and store answer.")]
    started: float
    processes: tuple[ProcessHealth, ...]
    sources: Annotated[tuple[SourceHealth, ...], Meta(description="Blind time is that of the last 24 hours.")]
    store_bytes: int
    events: Annotated[dict[str, int], Meta(description="Stored events of the last 24 hours by kind.")]
    problems: tuple[str, ...]
    enforcer: EnforcerStatus | None = None
    packs: Annotated[tuple[PackView, ...], Meta(description="Indicator packs in use.")] = ()


class CaptureResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a capture, record by record."""

    capture: dict[str, Any]
    devices: tuple[dict[str, Any], ...]
    findings: tuple[dict[str, Any], ...]
    sources: tuple[dict[str, Any], ...]


def pack_view(info: PackInfo, now: float) -> PackView:
    """Show a pack with its age."""
    return PackView(
        name=info.name,
        version=info.version,
        imported=info.imported,
        age_s=max(now - info.imported, 0.0),
        count=info.count,
        refused=info.refused,
        confidence=info.confidence,
    )


def claim_view(row: Claim) -> ClaimView:
    """Show a claim without its digest."""
    return ClaimView(**{name: getattr(row, name) for name in ClaimView.__struct_fields__})


def user_view(row: Principal) -> UserView:
    """Show a user without secrets."""
    return UserView(
        uid=row.uid,
        name=row.name,
        role=row.role,
        email=row.email,
        disabled=row.disabled,
        has_password=bool(row.password),
        time=row.time,
        last_seen=row.last_seen,
    )


def token_view(row: Token) -> TokenView:
    """Show a token without its digest."""
    return TokenView(
        uid=row.uid,
        principal=row.principal,
        name=row.name,
        scopes=row.scopes,
        time=row.time,
        expires=row.expires,
        revoked=row.revoked,
        last_used=row.last_used,
    )


def session_view(row: Session) -> SessionView:
    """Show a session without its digest."""
    return SessionView(uid=row.uid, principal=row.principal, expires=row.expires)
