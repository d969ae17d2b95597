"""Claims: made from CSV, names that fit a certificate, tokens that are kept as digests."""

from __future__ import annotations

import pytest

from thingward.identity.claims import MAX_CLAIMS, make_claim, read_claims, verify_claims
from thingward.identity.credentials import secret_digest
from thingward.model.errors import InvalidInput
from thingward.model.ids import DEFAULT_TENANT
from thingward.model.intent import NewClaim


def test_a_file_of_many():
    found = read_claims("\ufeffName,serial,kind\r\npump-7, A17 ,pump\r\nvalve.2,,\r\n")
    assert found == (NewClaim(name="pump-7", serial="A17", kind="pump"), NewClaim(name="valve.2"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "first line"),
        ("serial\nA\n", "first line"),
        ("name,colour\na,b\n", "first line"),
        ("name,name\na,b\n", "first line"),
        ("name\n", "1 to 10000"),
        ("name,serial\na\n", "line 2"),
        ("name\na,b\n", "line 2"),
        ("name\na\nA\n", "twice"),
        ("name\n../etc\n", "cannot be used"),
        ("name\n" + "x" * 65 + "\n", "cannot be used"),
        ('name\n"a\n', "line"),
        ("name,serial\na,\x07\n", "serial"),
    ],
)
def test_what_cannot_be_used_is_named(text, said):
    with pytest.raises(InvalidInput, match=said):
        read_claims(text)


def test_too_many_at_once():
    with pytest.raises(InvalidInput):
        verify_claims([NewClaim(name=f"d{n}") for n in range(MAX_CLAIMS + 1)])


def test_only_a_digest_of_the_token_is_kept():
    claim, token = make_claim(
        NewClaim(name="a"), tenant=DEFAULT_TENANT, by="u", ttl_s=60.0, needs_approval=False, random=b"r" * 32, now=1.0
    )
    assert token.startswith("twc_")
    assert claim.digest == secret_digest(token)
    assert token not in repr(claim)
    with pytest.raises(InvalidInput):
        make_claim(
            NewClaim(name="a"), tenant=DEFAULT_TENANT, by="u", ttl_s=0, needs_approval=False, random=b"", now=1.0
        )
