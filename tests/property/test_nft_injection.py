"""No text that comes from outside can add a word to the language of nftables or dnsmasq."""

import re
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thingward.model.action import EnforcementEntry, EnforcementState
from thingward.model.errors import InvalidInput
from thingward.model.profile import Acl, PeerKind
from thingward.wire.nft import (
    FAMILIES,
    Holdings,
    build_ruleset,
    quarantine_elements,
    render_add,
    render_dnsmasq,
    render_file,
    render_hold,
    render_withdraw,
)

NASTY = st.sampled_from([
    "; flush ruleset", "} }\nflush ruleset", "a\nb", 'x" drop', "$(id)", "@quarantine_mac", "{ 0.0.0.0/0 }", "a/b#c,d",
    "*.", "*", "..", "-a.example", "\u212a.example", "1.2.3.4/0", "::1%eth0", "include \"/etc/shadow\"", "a" * 300, "\0",
])  # fmt: skip
TEXT = st.one_of(NASTY, st.text(max_size=40), st.from_regex(r"[a-z0-9.*:/-]{1,30}", fullmatch=True))
NUMBER = st.integers(-2, 70_000)
ACL = st.builds(
    Acl,
    direction=st.sampled_from(["out", "in"]),
    peer=st.sampled_from(list(PeerKind)),
    value=st.one_of(
        TEXT, st.sampled_from(["dns", "dhcp", "mdns", "icmp", "link", "d-1", "cloud.example", "10.0.0.0/8"])
    ),
    proto=st.one_of(st.sampled_from([6, 17, 1, 58, -1]), NUMBER),
    port=st.one_of(st.just(0), NUMBER),
    port_to=st.one_of(st.just(0), NUMBER),
    ethertype=st.one_of(st.just(0), NUMBER),
    resolved=st.booleans(),
    addresses=st.lists(TEXT, max_size=3).map(tuple),
)
TEXTS = st.lists(st.one_of(TEXT, st.just("02:00:00:00:00:01"), st.just("192.168.7.5")), max_size=3).map(tuple)
STATE = st.builds(
    EnforcementState,
    version=st.integers(0, 9),
    site=TEXT,
    entries=st.lists(
        st.builds(
            EnforcementEntry, device=TEXT, macs=TEXTS, addresses=TEXTS, acls=st.lists(ACL, max_size=4).map(tuple)
        ),
        max_size=3,
    ).map(tuple),
    roles=st.dictionaries(st.one_of(TEXT, st.just("dns")), TEXTS, max_size=3),
    devices=st.dictionaries(st.one_of(TEXT, st.just("d-1")), TEXTS, max_size=3),
    networks=TEXTS,
)

# Every word that may stand in a rule; addresses, numbers and hashed names are covered by their shapes.
WORDS = frozenset(re.findall(r"\S+", """
    add delete flush table set map chain counter rule element elements inet bridge thingward type flags timeout size
    interval dynamic auto-merge ether_addr ipv4_addr ipv6_addr verdict jump return drop name quarantined update vmap
    filter hook prerouting forward input output priority policy accept
    ether ip ip6 tcp udp dccp sctp udplite th meta l4proto nfproto ipv4 ipv6 pkttype broadcast protocol igmp icmp icmpv6
    saddr daddr sport dport arp ct direction original reply state related syn ack
    echo-request echo-reply destination-unreachable time-exceeded parameter-problem packet-too-big
    nd-neighbor-solicit nd-neighbor-advert nd-router-solicit nd-router-advert nd-redirect
    mld-listener-report mld-listener-done mld-listener-query mld2-listener-report
"""))  # fmt: skip
SHAPES = re.compile(
    r"@?(?:out|in|refused|l4|l6|n4|n6)_[0-9a-f]{16}|@?quarantine_(?:mac|ip4|ip6|to4|to6)|@?devices_(?:out|in)[46]?"
    r"|early|-?\d+|\d+s|\d+-\d+|0x[0-9a-f]{4}|(?:[0-9a-f]{2}:){5}[0-9a-f]{2}|[0-9.]+(?:/\d+)?|[0-9a-f:.]+(?:/\d+)?"
)


def words(text: str) -> list[str]:
    return re.findall(r"[^\s{};,()=!|&]+", text)


def assert_only_our_words(text: str) -> None:
    for line in text.splitlines():
        if not line.startswith("#"):
            for word in words(line.replace('"', " ").replace(" : jump", " jump").replace(" : verdict", " verdict")):
                assert word in WORDS or SHAPES.fullmatch(word), (word, line)
    assert text.isascii()


@given(STATE, st.text(max_size=20))
def test_a_ruleset_is_made_of_our_words_only(state: EnforcementState, tenant: str) -> None:
    ruleset = build_ruleset({tenant: state}, tracked=("inet",))
    assert_only_our_words(render_hold(ruleset, Holdings()))
    assert_only_our_words(render_file(ruleset))
    assert all(line.isascii() and "\n" not in line and len(line) < 400 for line in ruleset.skipped)
    for line in render_dnsmasq(ruleset.names).splitlines():
        assert line.startswith("#") or re.fullmatch(
            r"max-cache-ttl=\d+|nftset=/[a-z0-9_.-]+/[46]#(?:inet|bridge)#thingward#n[46]_[0-9a-f]{16}"
            r"(?:,[46]#(?:inet|bridge)#thingward#n[46]_[0-9a-f]{16})*",
            line,
        )


@given(TEXTS, TEXTS, st.floats(0.001, 1e6))
def test_a_quarantine_is_made_of_our_words_only(
    macs: tuple[str, ...], addresses: tuple[str, ...], ttl_s: float
) -> None:
    try:
        elements = quarantine_elements(macs, addresses)
    except InvalidInput:
        return
    assert_only_our_words(render_add(elements, FAMILIES, ttl_s))
    assert_only_our_words(render_withdraw(elements, FAMILIES))


@pytest.mark.netns
@settings(max_examples=40)
@given(state=STATE)
def test_nftables_itself_takes_every_ruleset(state: EnforcementState, in_namespace: tuple[str, ...]) -> None:
    text = render_file(build_ruleset({"t": state}, tracked=("inet",)))
    checked = subprocess.run(
        [*in_namespace, "nft", "-c", "-f", "-"], input=text, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, (checked.stderr, text)
