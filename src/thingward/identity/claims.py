"""Claims: one-time tokens by which devices enrol, made one by one or from a CSV file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Final

from thingward.identity.credentials import encode_secret, secret_digest
from thingward.model.certificate import Claim
from thingward.model.errors import InvalidInput
from thingward.model.ids import Tenant, Uid, hashed_uid
from thingward.model.intent import NewClaim

MAX_CLAIMS: Final = 10_000
MAX_TTL_S: Final = 366 * 86400.0
MAX_TEXT: Final = 64
COLUMNS: Final = ("name", "serial", "kind", "device")
#: What a common name and a DNS name can both carry.
NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_PLAIN: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,62}[\x21-\x7e])?")


def read_claims(text: str) -> tuple[NewClaim, ...]:
    """Read CSV: a header line with `name` and any of `serial`, `kind`, `device`, then a line for each device.

    Raises:
        InvalidInput: names the line that cannot be used.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        header = tuple((field or "").strip().lower() for field in reader.fieldnames or ())
        if "name" not in header or set(header) - set(COLUMNS) or len(set(header)) != len(header):
            raise InvalidInput(f"the first line names the columns: name, and any of {', '.join(COLUMNS[1:])}.")
        reader.fieldnames = header
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise InvalidInput(f"line {reader.line_num} has not {len(header)} fields.")
            rows.append(NewClaim(**{key: value.strip() for key, value in row.items()}))
            if len(rows) > MAX_CLAIMS:
                break
    except csv.Error as error:
        raise InvalidInput(f"line {reader.line_num} is no CSV: {error}.") from error
    verify_claims(rows)
    return tuple(rows)


def verify_claims(claims: Sequence[NewClaim]) -> None:
    """Raise InvalidInput unless every claim can become a certificate's subject, and no name comes twice."""
    if not 1 <= len(claims) <= MAX_CLAIMS:
        raise InvalidInput(f"1 to {MAX_CLAIMS} claims can be made at once.")
    seen: set[str] = set()
    for number, claim in enumerate(claims, 1):
        if not NAME.fullmatch(claim.name):
            raise InvalidInput(
                f"claim {number}: the name {claim.name[:80]!r} cannot be used.",
                hint="1 to 64 letters, digits, dots, dashes and underscores, with a letter or digit at both ends.",
            )
        for field in ("serial", "kind"):
            value = getattr(claim, field)
            if value and not _PLAIN.fullmatch(value):
                raise InvalidInput(f"claim {number}: {field} has at most {MAX_TEXT} plain characters.")
        if len(claim.device) > 120:
            raise InvalidInput(f"claim {number}: device is no uid.")
        if claim.name.lower() in seen:
            raise InvalidInput(f"claim {number}: the name {claim.name} comes twice.")
        seen.add(claim.name.lower())


def make_claim(
    new: NewClaim, *, tenant: Tenant, by: str, ttl_s: float, needs_approval: bool, random: bytes, now: float
) -> tuple[Claim, str]:
    """Mint a claim; returns the record and the token that is shown once."""
    if not 0 < ttl_s <= MAX_TTL_S:
        raise InvalidInput("a claim has an end within 366 days.")
    token = encode_secret("c", random)
    digest = secret_digest(token)
    claim = Claim(
        uid=Uid("c-" + hashed_uid("claim", tenant, digest)[:20]),
        tenant=tenant,
        time=now,
        source="core",
        name=new.name,
        digest=digest,
        expires=now + ttl_s,
        device=new.device,
        serial=new.serial,
        kind=new.kind,
        needs_approval=needs_approval,
        by=by,
    )
    return claim, token
