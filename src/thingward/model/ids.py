"""Identifiers: deterministic, so that a repeated record is the same record."""

from __future__ import annotations

import hashlib
from typing import NewType

Uid = NewType("Uid", str)
Tenant = NewType("Tenant", str)

DEFAULT_TENANT = Tenant("default")
DEFAULT_SITE = "home"


def record_uid(producer: str, sequence: int) -> Uid:
    """Name the n-th record of a producer: the same pair always gives the same uid (32 hex digits)."""
    return hashed_uid("record", producer, str(sequence))


def hashed_uid(*parts: str) -> Uid:
    """Hash length-prefixed parts into 32 hex digits, so that ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(4, "big") + data)
    return Uid(digest.hexdigest())


_OTHERS = dict(zip("0123456789abcdef", "89abcdef01234567", strict=True))


def event_uid(uid: Uid) -> Uid:
    """Name the event of an observation: its uid with the first hex digit's high bit turned.

    Several times cheaper than a hash, and there is one for each observation. Nothing else has that uid: the other
    124 bits are the producer's.
    """
    first = _OTHERS.get(uid[:1])
    return hashed_uid("event", uid) if first is None else Uid(first + uid[1:])


def device_uid(tenant: Tenant, site: str, anchor: str) -> Uid:
    """Name a device by its first firm anchor (`mac:..`, `duid:..`, `ip:..`) within a site."""
    return Uid("d-" + hashed_uid("device", tenant, site, anchor)[:20])
