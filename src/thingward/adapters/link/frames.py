"""Frames as bytes: a length (u32, big endian) and MessagePack; errors as text that finds its class again."""

from __future__ import annotations

import asyncio
import struct
from typing import Final

import msgspec

from thingward.model.errors import InvalidInput, ThingwardError
from thingward.model.packed import unpack
from thingward.ports.link import Frame

PROTOCOL_VERSION: Final = 1
MAX_FRAME_BYTES: Final = 16 << 20
LENGTH = struct.Struct(">I")
KINDS: Final = frozenset({"hello", "batch", "ack", "seen", "call", "answer", "push"})

_encoder = msgspec.msgpack.Encoder()
_frames = msgspec.msgpack.Decoder(Frame)


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """First frame's body on both sides: who speaks, under which spool's numbers, and what it wants pushed."""

    version: int = PROTOCOL_VERSION
    name: str = ""
    stream: str = ""
    subscribe: tuple[str, ...] = ()


_hellos = msgspec.msgpack.Decoder(Hello)


def encode_frame(frame: Frame, limit: int = MAX_FRAME_BYTES) -> bytes:
    """Give the frame's bytes, length included; raises InvalidInput above the limit."""
    body = _encoder.encode(frame)
    if len(body) > limit:
        raise InvalidInput(f"a frame of {len(body)} bytes is too large for the link.", hint="Send smaller batches.")
    return LENGTH.pack(len(body)) + body


def decode_frame(body: bytes) -> Frame:
    """Read a frame without its length; raises InvalidInput on anything that is none."""
    frame = unpack(_frames, body, "a frame")
    if frame.kind not in KINDS or frame.sequence < 0:
        raise InvalidInput(f"not a frame: kind {frame.kind[:20]!r}, sequence {frame.sequence}.")
    return frame


async def read_frame(reader: asyncio.StreamReader, limit: int = MAX_FRAME_BYTES) -> Frame:
    """Read one frame.

    Raises:
        InvalidInput: too long or no frame: the peer cannot be trusted to be in step any more.
        EOFError: the other side closed.
    """
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if length > limit:
        raise InvalidInput(f"a frame of {length} bytes is above the limit of {limit}.")
    return decode_frame(await reader.readexactly(length))


def encode_hello(hello: Hello) -> Frame:
    """Give the frame of a greeting."""
    return Frame(kind="hello", body=_encoder.encode(hello))


def decode_hello(frame: Frame) -> Hello:
    """Read a greeting; raises InvalidInput if it is none, or of another version."""
    if frame.kind != "hello":
        raise InvalidInput(f"{frame.kind} came before hello.")
    hello = unpack(_hellos, frame.body, "a greeting")
    if hello.version != PROTOCOL_VERSION:
        raise InvalidInput(f"the other side speaks version {hello.version} of the link, not {PROTOCOL_VERSION}.")
    return hello


def encode_error(error: ThingwardError) -> str:
    """Give the form in which an error crosses the link."""
    return f"{error.code}: {error}"


def decode_error(text: str) -> ThingwardError:
    """Give the error again, of its own class if this process knows it."""
    code, _, message = text.partition(": ")
    kinds = [ThingwardError]
    for kind in kinds:
        if kind.code == code and kind is not ThingwardError:
            return kind(message)
        kinds += kind.__subclasses__()
    error = ThingwardError(message)
    error.code = code
    return error
