"""Message heads in the style of HTTP: a first line, then header fields (RFC 9112); shared by HTTP, SSDP, RTSP and SIP."""

from __future__ import annotations

import base64
import binascii

from thingward.model.record import Secret
from thingward.wire.message import Credential, Unreadable, clean_text

MAX_HEAD_BYTES = 16384
MAX_FIELDS = 128


def parse_head(data: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Split a head into its first line and its fields (lower-case names, first value wins).

    Lines may end with LF alone; lines without a colon and folded lines are passed over.
    """
    lines = data[:MAX_HEAD_BYTES].split(b"\n", MAX_FIELDS)
    headers: dict[bytes, bytes] = {}
    for line in lines[1:MAX_FIELDS]:
        name, colon, value = line.partition(b":")
        if not colon:
            if not line.strip():
                break
            continue
        headers.setdefault(name.strip().lower(), value.strip())
    return lines[0].rstrip(b"\r"), headers


def head_end(buffer: bytes | bytearray) -> int:
    """Give the offset after the empty line that ends a head, or -1 if it is not there yet."""
    crlf = buffer.find(b"\r\n\r\n")
    bare = buffer.find(b"\n\n", 0, crlf if crlf >= 0 else len(buffer))
    if bare >= 0:
        return bare + 2
    return crlf + 4 if crlf >= 0 else -1


def split_status(first: bytes) -> int:
    """Give the status number of a status line; raises Unreadable if there is none."""
    parts = first.split(None, 2)
    if len(parts) < 2 or len(parts[1]) != 3 or not parts[1].isdigit():
        raise Unreadable("bad status line", 0)
    return int(parts[1])


def basic_credential(value: bytes, scheme: str, outcome: str) -> Credential | None:
    """Read an Authorization field of the Basic scheme (RFC 7617); None for other schemes and broken ones."""
    kind, _, token = value.partition(b" ")
    if kind.lower() != b"basic" or len(token) > 1024:
        return None
    try:
        pair = base64.b64decode(token.strip(), validate=False)
    except (binascii.Error, ValueError):
        return None
    user, colon, password = pair.partition(b":")
    if not colon:
        return None
    return Credential(
        scheme=scheme, user=clean_text(user), password=Secret(password.decode("utf-8", "replace")), outcome=outcome
    )


def outcome_of(status: int) -> str:
    """Say what an answer's status tells of the credential that the request carried."""
    if status in (401, 403, 407):
        return "failure"
    return "success" if 200 <= status < 300 else "unknown"
