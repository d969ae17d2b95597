"""The console's own certificate holds what a browser may call it, and is made anew when that or its time changes."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from thingward.model.errors import InvalidInput
from thingward.runtime.config import Settings
from thingward.runtime.console_tls import MAX_ADDRESSES, console_certificate
from thingward.runtime.own_addresses import local_addresses

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
TRIE = """\
Local:
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.1
              /32 host LOCAL
     +-- 192.168.7.0/24 2 0 2
           |-- 192.168.7.0
              /24 link UNICAST
           |-- 192.168.7.2
              /32 host LOCAL
        |-- 192.168.7.255
           /32 link BROADCAST
"""
SIX = """\
00000000000000000000000000000001 01 80 10 80       lo
fd000000000000000000000000000002 04 40 00 82     eth0
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
"""


def make(folder, host="0.0.0.0", *, now=NOW, hostname="hub", addresses=("192.168.7.2", "fd00::2")):
    certificate = console_certificate(Settings(data_dir=str(folder)), host, now, hostname=hostname, addresses=addresses)
    # What OpenSSL refuses, a listener could not use.
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate.chain_file, certificate.key_file)
    return Path(certificate.chain_file)


def leaf_of(file):
    return x509.load_pem_x509_certificate(file.read_bytes())


def names_of(file):
    alternative = leaf_of(file).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    names = set(alternative.get_values_for_type(x509.DNSName))
    return names | {str(ip) for ip in alternative.get_values_for_type(x509.IPAddress)}


def test_a_console_on_all_addresses_is_named_by_each_of_them(tmp_path):
    found = names_of(make(tmp_path))
    assert found == {"localhost", "hub", "hub.local", "127.0.0.1", "::1", "192.168.7.2", "fd00::2"}


def test_a_console_on_one_address_is_named_by_that_alone(tmp_path):
    found = names_of(make(tmp_path, "192.168.7.2", addresses=("192.168.7.2", "10.0.0.1")))
    assert "192.168.7.2" in found
    assert "10.0.0.1" not in found


@pytest.mark.parametrize(
    "change", [{"hostname": "attic"}, {"addresses": ("192.168.7.3",)}, {"now": NOW + datetime.timedelta(days=61)}]
)
def test_it_is_made_anew_by_the_same_ca_when_name_address_or_time_change(tmp_path, change):
    before = leaf_of(make(tmp_path))
    ca = (tmp_path / "tls" / "ca.pem").read_bytes()
    after = leaf_of(make(tmp_path, **change))
    assert after.serial_number != before.serial_number
    assert (tmp_path / "tls" / "ca.pem").read_bytes() == ca


@pytest.mark.parametrize("change", [{}, {"addresses": ("192.168.7.2",)}, {"now": NOW + datetime.timedelta(days=30)}])
def test_it_stays_while_it_fits(tmp_path, change):
    before = leaf_of(make(tmp_path))
    assert leaf_of(make(tmp_path, **change)).serial_number == before.serial_number


def test_one_that_does_not_fit_its_key_or_cannot_be_read_is_made_anew(tmp_path):
    file = make(tmp_path)
    (tmp_path / "other").mkdir()
    make(tmp_path / "other")
    key = tmp_path / "tls" / "console.key"
    for spoil in (
        lambda: key.write_bytes((tmp_path / "other" / "tls" / "console.key").read_bytes()),  # killed between the two
        lambda: file.write_bytes(b"-----BEGIN CERTIFICATE-----\nAA"),
        lambda: key.write_bytes(b""),
        lambda: file.write_bytes((tmp_path / "other" / "tls" / "console.pem").read_bytes()),
    ):
        spoil()
        leaf_of(make(tmp_path))


def test_a_damaged_ca_is_said_and_not_replaced(tmp_path):
    make(tmp_path)
    (tmp_path / "tls" / "ca.key").write_bytes(b"damaged")
    with pytest.raises(InvalidInput, match="own CA"):
        make(tmp_path)


@pytest.mark.parametrize("hostname", ["", "müller", "-.-", "a" * 64, "10.0.0.1", "x" * 300])
def test_odd_host_names_do_no_harm(tmp_path, hostname):
    assert "localhost" in names_of(make(tmp_path, hostname=hostname))


def test_addresses_are_bounded_and_loopback_stays(tmp_path):
    many = [str(ipaddress.ip_address("10.0.0.0") + n) for n in range(1, 500)]
    found = names_of(make(tmp_path, addresses=many))
    assert {"127.0.0.1", "::1"} <= found
    assert sum(name[0].isdigit() or ":" in name for name in found) == MAX_ADDRESSES


def test_the_kernels_lists_are_read(tmp_path):
    (tmp_path / "fib_trie").write_text(TRIE)
    (tmp_path / "if_inet6").write_text(SIX)
    assert local_addresses(tmp_path) == {"127.0.0.1", "192.168.7.2", "::1", "fd00::2"}
    assert local_addresses(tmp_path / "none") == frozenset()


def test_a_given_certificate_without_its_key_is_said(tmp_path):
    settings = Settings(data_dir=str(tmp_path))
    server = type(settings.server)(tls_certificate=str(tmp_path / "none.pem"))
    with pytest.raises(InvalidInput, match="tls_certificate"):
        console_certificate(Settings(data_dir=str(tmp_path), server=server), "0.0.0.0", NOW)
