"""Tokens, sessions and login links: a random secret goes out once, only a digest of it stays."""

from __future__ import annotations

import base64
import hashlib

from thingward.model.errors import Forbidden, InvalidInput, Unauthenticated
from thingward.model.ids import Uid, hashed_uid
from thingward.model.principal import Principal, Session, Token

SECRET_BYTES = 32
LINK_TTL_S = 15 * 60.0
MAX_TOKEN_TTL_S = 366 * 86400.0


def encode_secret(kind: str, random: bytes) -> str:
    """Spell a secret so that scanners know it: `twt_...` token, `tws_...` session, `twl_...` link."""
    return f"tw{kind}_{base64.urlsafe_b64encode(random).decode().rstrip('=')}"


def secret_digest(secret: str) -> str:
    """Digest for storage and look-up. The secret has 256 random bits, so no salt or slow hash is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def make_token(
    owner: Principal,
    name: str,
    scopes: tuple[str, ...],
    ttl_s: float,
    *,
    known: tuple[str, ...],
    random: bytes,
    now: float,
) -> tuple[Token, str]:
    """Mint a token; returns the record and the secret that is shown once.

    Raises:
        InvalidInput: unknown scope, no name, or an end that is not within a year.
    """
    foreign = [scope for scope in scopes if scope != "*" and scope not in known]
    if foreign or not scopes:
        raise InvalidInput(
            f"unknown or missing scopes: {', '.join(foreign) or 'none given'}.", hint=f"Known: {', '.join(known)}."
        )
    if not name.strip() or not 0 < ttl_s <= MAX_TOKEN_TTL_S:
        raise InvalidInput("a token needs a name and an end within 366 days.")
    secret = encode_secret("t", random)
    digest = secret_digest(secret)
    uid = Uid("t-" + hashed_uid("token", owner.tenant, digest)[:20])
    token = Token(
        uid=uid,
        tenant=owner.tenant,
        time=now,
        source="core",
        principal=owner.uid,
        name=name.strip()[:100],
        digest=digest,
        scopes=scopes,
        expires=now + ttl_s,
    )
    return token, secret


def make_session(owner: Principal, ttl_s: float, *, link: bool, random: bytes, now: float) -> tuple[Session, str]:
    """Open a session, or a one-time login link; returns the record and the secret that is shown once."""
    secret = encode_secret("l" if link else "s", random)
    digest = secret_digest(secret)
    session = Session(
        uid=Uid("s-" + hashed_uid("session", owner.tenant, digest)[:20]),
        tenant=owner.tenant,
        time=now,
        source="core",
        principal=owner.uid,
        digest=digest,
        expires=now + ttl_s,
        link=link,
        # Derived, not stored in clear elsewhere: forms of this session must carry it.
        csrf=hashlib.sha256(b"csrf:" + secret.encode()).hexdigest()[:32],
    )
    return session, secret


def verify_token(token: Token | None, owner: Principal | None, now: float) -> tuple[Token, Principal]:
    """Raise Unauthenticated unless the token is alive and its owner may still sign in."""
    if token is None or token.revoked or token.expires <= now:
        raise Unauthenticated("the token is unknown, revoked or past its end.", hint="Make a new one.")
    return token, _verify_owner(owner)


def verify_session(
    session: Session | None, owner: Principal | None, now: float, *, link: bool = False
) -> tuple[Session, Principal]:
    """Raise Unauthenticated unless the session (or unused link) is alive and its owner may still sign in."""
    if session is None or session.link != link or session.used or session.expires <= now:
        what = "login link" if link else "session"
        raise Unauthenticated(f"the {what} is unknown, used or past its end.", hint="Sign in again.")
    return session, _verify_owner(owner)


def _verify_owner(owner: Principal | None) -> Principal:
    if owner is None or owner.disabled:
        raise Forbidden("this account is disabled.", hint="Ask an admin.")
    return owner
