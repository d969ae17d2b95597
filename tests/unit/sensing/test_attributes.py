"""The list of attribute names, its documentation, and who uses them."""

import re
from pathlib import Path

import pytest

from thingward.sensing.attributes import ATTRIBUTES, MAX_VALUE, identity


def named_in(text: str) -> set[str]:
    prefixes = "|".join(sorted({name.partition(".")[0] for name in ATTRIBUTES}))
    return set(re.findall(rf'"((?:{prefixes})\.[a-z0-9_]+)"', text))


def test_documentation_and_code_list_the_same_names(project_root: Path):
    text = (project_root / "docs" / "protocols.md").read_text()
    listed = dict(re.findall(r"^\| `([a-z0-9_.]+)` \| (.+?) \|$", text, re.MULTILINE))
    assert listed == ATTRIBUTES


def test_every_listed_name_is_said_somewhere(project_root: Path):
    sources = (project_root / "src" / "thingward" / "sensing").glob("*.py")
    said = {name for path in sources if path.name != "attributes.py" for name in named_in(path.read_text())}
    computed = {f"{scheme}.banner" for scheme in ("ftp", "smtp", "pop3", "imap", "ssh")}
    computed |= {f"{scheme}.{part}" for scheme in ("http", "rtsp") for part in ("user_agent", "server", "realm")}
    assert said | computed == set(ATTRIBUTES)


def test_identity_drops_empty_and_repeated_values_and_cuts_long_ones():
    body = identity("dhcp", ("dhcp.hostname", ""), ("dhcp.fqdn", "a"), ("dhcp.fqdn", "a"), ("mud.url", "x" * 999))
    assert body is not None
    assert body.attributes == (("dhcp.fqdn", "a"), ("mud.url", "x" * MAX_VALUE))
    assert identity("dhcp", ("dhcp.hostname", "")) is None


def test_an_unlisted_name_is_a_fault():
    with pytest.raises(AssertionError):
        identity("dhcp", ("dhcp.shoe_size", "44"))
