"""Bytes that are not what was expected become one error, whatever is wrong with them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from thingward.detection.credentials import CredentialStage
from thingward.model.errors import InvalidInput, Unavailable
from thingward.model.packed import unpack

COUNTS = msgspec.msgpack.Decoder(dict[str, int])
BAD_TEXT = b"\x81\xa1\xff\x01"
WRONG = (b"", b"\xc1", b"\x93\x01\x02\x03", b"\x81\xa1a\xa1b", BAD_TEXT)


def test_what_was_packed_is_read() -> None:
    assert unpack(COUNTS, msgspec.msgpack.encode({"a": 1}), "counts") == {"a": 1}


@pytest.mark.parametrize("data", WRONG)
@pytest.mark.parametrize("error", [InvalidInput, Unavailable])
def test_anything_else_is_the_error_that_was_asked_for(data: bytes, error: type[Any]) -> None:
    with pytest.raises(error, match="not counts"):
        unpack(COUNTS, data, "counts", error)


def test_nesting_without_end_is_an_error_too() -> None:
    with pytest.raises(InvalidInput):
        unpack(msgspec.msgpack.Decoder(Any), b"\x91" * 100_000, "anything")


@pytest.mark.parametrize("data", WRONG)
def test_a_stage_takes_no_state_that_is_none(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        CredentialStage({}).restore(data)
