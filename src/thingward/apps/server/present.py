"""JSON as people get it: every field is there, defaults too, so that "unknown" is said and not left out."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from litestar import Response

_ENCODER = msgspec.json.Encoder(enc_hook=str)


def explicit(value: Any) -> Any:
    """Turn records into plain data with all fields and the tag as `type`."""
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        fields = {name: explicit(getattr(value, name)) for name in value.__struct_fields__}
        return {config.tag_field: config.tag, **fields} if config.tag_field else fields
    if isinstance(value, tuple | list):
        return [explicit(item) for item in value]
    if isinstance(value, dict):
        return {key: explicit(item) for key, item in value.items()}
    return value


def encode_public(value: Any) -> bytes:
    """Give the JSON text of records, pages and plain data."""
    return _ENCODER.encode(explicit(value))


def entity_tag(body: bytes) -> str:
    """Name this content: the ETag of a JSON answer."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


class JsonResponse(Response[Any]):
    """An answer of the API."""

    def render(self, content: Any, media_type: str, enc_hook: Any = None) -> bytes:
        """Write the content as JSON; text and bytes stay what they are."""
        if isinstance(content, bytes):
            return content
        if isinstance(content, str) and not media_type.startswith("application/json"):
            return content.encode()
        if content is None:
            return b""
        return encode_public(content)
