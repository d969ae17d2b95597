"""Content of our own that ships with the package: credential lists, as plain files."""

from __future__ import annotations

from importlib import resources

from thingward.model.errors import InvalidInput
from thingward.model.observation import pair_digest

#: Lists of user and password pairs: name to file.
PAIR_LISTS = {"mirai": "mirai_pairs.txt", "vendor": "vendor_pairs.txt"}


def parse_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Read `user<TAB>password` lines; `#` begins a comment at the start of a line, an empty field is an empty word.

    Raises:
        InvalidInput: a line has no tab.
    """
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        user, tab, password = line.partition("\t")
        if not tab:
            raise InvalidInput(f"line {number} of the list has no tab between user and password.")
        pairs.append((user, password))
    return tuple(dict.fromkeys(pairs))


def built_in_pairs() -> dict[str, frozenset[str]]:
    """Give the digests of the built-in lists, by name."""
    folder = resources.files("thingward.detection") / "lists"
    return {
        name: frozenset(pair_digest(*pair) for pair in parse_pairs((folder / file).read_text("utf-8")))
        for name, file in PAIR_LISTS.items()
    }
