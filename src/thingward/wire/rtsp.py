"""RTSP (RFC 2326, 7826): cameras and who watches them; exchanges look like HTTP's."""

from __future__ import annotations

from typing import ClassVar

from thingward.wire.http import HttpDecoder, HttpExchange

METHODS = frozenset(
    b"OPTIONS DESCRIBE SETUP PLAY PAUSE TEARDOWN ANNOUNCE RECORD GET_PARAMETER SET_PARAMETER REDIRECT".split()
)


class RtspExchange(HttpExchange, frozen=True, kw_only=True):
    """One RTSP request with its answer; fields as in HTTP."""

    protocol: ClassVar[str] = "rtsp"


class RtspDecoder(HttpDecoder):
    """Pairs requests and answers of one RTSP connection."""

    protocol: ClassVar[str] = "rtsp"
    _exchange: ClassVar[type[HttpExchange]] = RtspExchange
    _version: ClassVar[bytes] = b"RTSP/"
    _methods: ClassVar[frozenset[bytes]] = METHODS
    _basic_scheme: ClassVar[str] = "rtsp"


def is_rtsp_request(data: bytes) -> bool:
    """Tell by the first line."""
    return data[:16].split(b" ", 1)[0] in METHODS and b" RTSP/" in data[:512]
