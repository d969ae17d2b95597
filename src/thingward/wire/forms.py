"""Log-in fields in queries, forms and JSON bodies; and keeping their values out of what is stored."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import msgspec

from thingward.model.record import Secret
from thingward.wire.message import Credential, clean_text

MAX_FIELDS = 64
MAX_BODY_BYTES = 4096
_USER_NAMES = frozenset(
    [
        "user",
        "username",
        "usr",
        "uname",
        "login",
        "loginuse",
        "name",
        "account",
        "email",
        "userid",
        "user_name",
        "user_id",
        "loginname",
        "log",
        "login_user",
        "login_username",
        "username1",
        "httpd_username",
        "luser",
        "admin_name",
    ]
)
_PASSWORD_NAMES = frozenset(
    [
        "password",
        "pass",
        "passwd",
        "pwd",
        "psw",
        "psd",
        "pw",
        "loginpas",
        "loginpass",
        "passcode",
        "user_password",
        "userpassword",
        "login_password",
        "login_passwd",
        "login_pwd",
        "httpd_password",
        "lpass",
        "admin_password",
        "md5password",
        "password1",
        "userpwd",
    ]
)
_SECRET_MARKS = ("pass", "pwd", "psw", "psd", "loginpas", "token", "secret", "apikey", "api_key", "auth", "session")


def hide_secrets(path: bytes) -> bytes:
    """Give a path whose query fields with secret-looking names have lost their values."""
    start, mark, query = path.partition(b"?")
    if not mark:
        return path
    fields = query[:MAX_BODY_BYTES].split(b"&", MAX_FIELDS)
    return start + b"?" + b"&".join([_hide(field) for field in fields[:MAX_FIELDS]])


def _hide(field: bytes) -> bytes:
    name, equals, _value = field.partition(b"=")
    lowered = name.lower().decode("latin-1")
    if equals and (lowered in _PASSWORD_NAMES or any(mark in lowered for mark in _SECRET_MARKS)):
        return name + b"=***"
    return field


def _read_query(body: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    for field in body[:MAX_BODY_BYTES].split(b"&", MAX_FIELDS)[:MAX_FIELDS]:
        name, equals, value = field.partition(b"=")
        if equals:
            text = unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8", "replace")
            fields.setdefault(unquote_to_bytes(name).decode("latin-1").lower(), text)
    return fields


def _read_json(body: bytes) -> dict[str, str]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {name.lower(): text for name, text in value.items() if isinstance(text, str)}


def find_form_login(body: bytes, content_type: bytes) -> Credential | None:
    """Find a user and password field by their usual names; a password field must be there.

    Args:
        body: a query string, form or JSON object.
        content_type: lower case; JSON is read as such, all else as form fields.
    """
    if not body or len(body) > MAX_BODY_BYTES:
        return None
    fields = _read_json(body) if b"json" in content_type else _read_query(body)
    password = next((value for name, value in fields.items() if name in _PASSWORD_NAMES), None)
    if password is None:
        return None
    user = next((value for name, value in fields.items() if name in _USER_NAMES), "")
    return Credential(scheme="http-form", user=clean_text(user.encode("utf-8", "replace")), password=Secret(password))
