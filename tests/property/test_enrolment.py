"""Hostile requests: nothing crashes, and no request that was changed on its way is taken."""

from __future__ import annotations

import base64

from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.identity.csrs import csr
from thingward.identity.claims import read_claims
from thingward.identity.requests import ParsedRequest, read_request
from thingward.model.errors import InvalidInput
from thingward.model.intent import NewClaim
from thingward.model.record import Malformed
from thingward.wire.est import decode_basic, decode_request

GOOD = csr(serial="A1")
READ = read_request(GOOD)


@given(st.binary(max_size=400))
@example(b"")
@example(b"\x30\x80")
def test_any_bytes_are_a_request_or_malformed(data):
    found = decode_request(data)
    assert isinstance(found, bytes | Malformed)
    assert isinstance(read_request(data), ParsedRequest | Malformed)


@given(st.binary(min_size=1, max_size=400))
def test_base64_of_anything_comes_back_or_is_malformed(data):
    found = decode_request(base64.b64encode(data))
    assert found == data if data[0] == 0x30 else isinstance(found, Malformed | bytes)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_request_with_a_changed_byte_is_never_taken_for_the_key_that_it_was(position, change):
    """Each byte is signed or part of the signature: what still verifies says the same as before."""
    changed = bytearray(GOOD)
    changed[position] ^= change
    found = read_request(bytes(changed))
    assert isinstance(found, Malformed) or found == READ


@given(st.integers(0, len(GOOD)), st.integers(0, 40), st.binary(max_size=40))
def test_a_request_with_a_changed_stretch_is_never_taken(position, length, new):
    changed = GOOD[:position] + new + GOOD[position + length :]
    found = read_request(changed)
    assert isinstance(found, Malformed) or found == READ


@given(st.text(max_size=200))
def test_any_header_is_credentials_or_malformed(header):
    found = decode_basic(header)
    assert isinstance(found, Malformed) or len(found) == 2


@given(st.text(alphabet=st.sampled_from("name,serial\n\r\"' \x00\u00e9a1"), max_size=200))
def test_any_text_is_claims_or_says_why_not(text):
    try:
        found = read_claims("name,serial\n" + text)
    except InvalidInput:
        return
    assert all(isinstance(row, NewClaim) and row.name.isascii() for row in found)
