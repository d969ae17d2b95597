"""Password hashes: salted scrypt, verified in constant time.

Source: RFC 7914; parameters by the OWASP password storage cheat sheet (N = 2^17 would be 128 MiB per log-in; N = 2^15
with r = 8 and p = 3 is their equal and takes 32 MiB).
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from thingward.model.errors import InvalidInput, Unauthenticated

_N, _R, _P = 2**15, 8, 3
_MAX_MEMORY_BYTES = 64 * 1024 * 1024
MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_CHARACTERS = 1024


def hash_password(password: str, salt: bytes) -> str:
    """Give `scrypt$N$r$p$salt$hash` for storage.

    Args:
        salt: 16 random bytes, new for each password.
    Raises:
        InvalidInput: shorter than 12 or longer than 1024 characters.
    """
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        raise InvalidInput(
            f"a password needs {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters.",
            hint="Choose a longer one; four random words will do.",
        )
    digest = _scrypt(password, salt, _N, _R, _P)
    return "$".join(("scrypt", str(_N), str(_R), str(_P), _b64(salt), _b64(digest)))


def verify_password(password: str, stored: str) -> None:
    """Return if the password is right; raises Unauthenticated if not, after the same work either way."""
    try:
        name, n, r, p, salt, digest = stored.split("$")
        known = name == "scrypt"
    except ValueError:
        known = False
    if not known:
        # A user without a password costs as much time as one with, so that names cannot be told apart.
        _scrypt(password[:MAX_PASSWORD_CHARACTERS], b"\0" * 16, _N, _R, _P)
        raise Unauthenticated("user name or password is wrong.")
    found = _scrypt(password[:MAX_PASSWORD_CHARACTERS], _unb64(salt), int(n), int(r), int(p))
    if not hmac.compare_digest(found, _unb64(digest)):
        raise Unauthenticated("user name or password is wrong.")


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    data = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(data, salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY_BYTES, dklen=32)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text)
