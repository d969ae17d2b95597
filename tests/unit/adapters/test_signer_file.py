import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)

from thingward.adapters.signer.ed25519_file import Ed25519FileSigner
from thingward.model.errors import Unavailable


def test_the_key_is_made_once_and_is_the_owners_alone(tmp_path):
    path = tmp_path / "keys" / "signing.pem"
    signer = Ed25519FileSigner(path)
    assert not path.exists()
    signature = signer.sign(b"data")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    again = Ed25519FileSigner(path)
    assert again.key_id() == signer.key_id()
    load_pem_public_key(again.public_pem()).verify(signature, b"data")
    assert os.listdir(path.parent) == ["signing.pem"]


def test_two_makers_end_with_one_key(tmp_path):
    path = tmp_path / "signing.pem"
    first, second = Ed25519FileSigner(path), Ed25519FileSigner(path)
    made = second._make()
    assert first.key_id() == second.key_id()
    assert Ed25519FileSigner(path)._make() == made


def test_a_key_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "signing.pem"
    Ed25519FileSigner(path).key_id()
    path.chmod(0o640)
    with pytest.raises(Unavailable, match="chmod 600"):
        Ed25519FileSigner(path).key_id()


def test_what_is_no_key_is_refused(tmp_path):
    path = tmp_path / "signing.pem"
    path.touch(mode=0o600)
    path.write_bytes(b"nonsense")
    with pytest.raises(Unavailable, match="no private key"):
        Ed25519FileSigner(path).sign(b"x")
    other = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(Unavailable, match="Ed25519"):
        Ed25519FileSigner(path).sign(b"x")
    link = tmp_path / "link.pem"
    link.symlink_to(path)
    with pytest.raises(Unavailable, match="cannot be used"):
        Ed25519FileSigner(link).sign(b"x")


def test_nothing_of_the_key_prints(tmp_path):
    signer = Ed25519FileSigner(tmp_path / "signing.pem")
    assert "PRIVATE" not in repr(signer)
    assert b"PRIVATE" not in signer.public_pem()
