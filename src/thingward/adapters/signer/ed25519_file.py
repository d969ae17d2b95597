"""A signing key in an owner-only file, made at its first use."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from thingward.model.errors import Unavailable


class Ed25519FileSigner:
    """Signs with the key in a file.

    Args:
        path: PEM file; it is made, with its folder, when the key is first needed.

    Raises:
        Unavailable: at first use: the file cannot be made or read, is no Ed25519 key, or others may read it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: Ed25519PrivateKey | None = None

    def sign(self, data: bytes) -> bytes:
        """Give a detached signature of 64 bytes."""
        return self._load().sign(data)

    def public_pem(self) -> bytes:
        """Give the public key as PEM."""
        return self._load().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def key_id(self) -> str:
        """Give the first 16 hexadecimal digits of the SHA-256 of the public key in DER form."""
        der = self._load().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()[:16]

    def _load(self) -> Ed25519PrivateKey:
        if self._key is None:
            try:
                pem = self._read() or self._make()
                key = load_pem_private_key(pem, password=None)
            except (ValueError, TypeError, UnsupportedAlgorithm) as error:
                raise Unavailable(f"{self._path} is no private key: {error}.", hint="Put the backup back.") from error
            except OSError as error:
                raise Unavailable(f"the signing key {self._path} cannot be used: {error.strerror}.") from error
            if not isinstance(key, Ed25519PrivateKey):
                raise Unavailable(f"{self._path} is not an Ed25519 key.")
            self._key = key
        return self._key

    def _read(self) -> bytes:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        with os.fdopen(fd, "rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if stat.S_IMODE(mode) & 0o077:
                raise Unavailable(f"others may read the signing key {self._path}.", hint=f"Run: chmod 600 {self._path}")
            return stream.read()

    def _make(self) -> bytes:
        """Write a new key beside its place, force it to disk, and link it there: two makers end with one key."""
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.write(pem)
                stream.flush()
                os.fsync(stream.fileno())
            os.link(beside, self._path)
        except FileExistsError:
            return self._read()
        finally:
            beside.unlink(missing_ok=True)
        return pem
