"""What every signer keeps to."""

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from thingward.adapters.signer.ed25519_file import Ed25519FileSigner
from thingward.adapters.signer.memory import MemorySigner


@pytest.fixture(params=["file", "memory"])
def signer(request, tmp_path):
    return MemorySigner() if request.param == "memory" else Ed25519FileSigner(tmp_path / "signing.pem")


def test_a_signature_fits_its_data_and_its_key(signer):
    key = load_pem_public_key(signer.public_pem())
    signature = signer.sign(b"data")
    key.verify(signature, b"data")
    with pytest.raises(InvalidSignature):
        key.verify(signature, b"other data")
    with pytest.raises(InvalidSignature):
        load_pem_public_key(MemorySigner().public_pem()).verify(signature, b"data")


def test_the_key_id_names_the_public_key(signer):
    der = load_pem_public_key(signer.public_pem()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert signer.key_id() == hashlib.sha256(der).hexdigest()[:16]
    assert signer.key_id() == signer.key_id()


def test_anything_can_be_signed(signer):
    assert len(signer.sign(b"")) == len(signer.sign(b"\0" * 100_000)) == 64


def test_the_private_key_stays(signer):
    assert b"PRIVATE" not in signer.public_pem()
    assert "PRIVATE" not in repr(signer)
