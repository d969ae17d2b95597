"""Syslog lines out: RFC 5424 messages, RFC 6587 octet counting for streams."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

FACILITY_SECURITY = 13
_SD_ID = "thingward@32473"
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: OCSF severity 1..5 to syslog severity: informational, notice, warning, error, critical.
_SEVERITY = {1: 6, 2: 5, 3: 4, 4: 3, 5: 2, 6: 1}
MAX_VALUE_CHARACTERS = 512
MAX_TEXT_CHARACTERS = 1500


def encode_syslog(*, time: float, host: str, kind: str, severity: int, text: str, fields: Mapping[str, str]) -> bytes:
    """Render one message.

    Args:
        time: seconds since 1970.
        kind: message id, for example `finding`.
        severity: OCSF severity_id, 1 to 6.
        fields: structured data, names in ASCII without `=`, space, `]`, `"`.
    Returns:
        The message without framing; control characters in values become spaces, so that no value can add a line.
    """
    priority = FACILITY_SECURITY * 8 + _SEVERITY.get(severity, 6)
    stamp = datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data = "".join(f' {_name(name)}="{_value(value)}"' for name, value in fields.items() if value)
    structured = f"[{_SD_ID}{data}]" if data else "-"
    clean = _CONTROL.sub(" ", text)[:MAX_TEXT_CHARACTERS]
    line = f"<{priority}>1 {stamp} {_name(host, 255)} thingward - {_name(kind)} {structured} \ufeff{clean}"
    return line.encode("utf-8", "replace")


def frame_octets(message: bytes) -> bytes:
    """Frame a message for TCP or TLS by octet counting (RFC 6587, 3.4.1)."""
    return str(len(message)).encode() + b" " + message


def _name(text: str, most: int = 32) -> str:
    return re.sub(r'[="\]]', "_", _NOT_PRINTABLE.sub("_", text))[:most] or "-"


def _value(text: str) -> str:
    clean = _CONTROL.sub(" ", text)[:MAX_VALUE_CHARACTERS]
    return clean.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
