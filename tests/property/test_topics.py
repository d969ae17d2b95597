"""Matching and containment of topic filters against the plainest possible definition."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from thingward.model.topic_access import Grant
from thingward.policy.topics import TopicTrie

WORDS = ["a", "b", "", "$s"]
# A word that no filter names, and more levels than any filter has: enough to tell every two filters apart.
NAMES = ["/".join(levels) for count in range(1, 6) for levels in product(["a", "b", "", "$s", "z"], repeat=count)]


def reference(topic_filter: list[str], name: list[str]) -> bool:
    """Section 4.7 word by word."""
    if name[0].startswith("$") and topic_filter[0] in ("+", "#"):
        return False
    if topic_filter == ["#"] or not topic_filter:
        return True if topic_filter else not name
    if not name:
        return False
    if topic_filter[0] != "+" and topic_filter[0] != name[0]:
        return False
    return matches_below(topic_filter[1:], name[1:])


def matches_below(topic_filter: list[str], name: list[str]) -> bool:
    if topic_filter == ["#"]:
        return True
    if not topic_filter or not name:
        return not topic_filter and not name
    return topic_filter[0] in ("+", name[0]) and matches_below(topic_filter[1:], name[1:])


@st.composite
def filters(draw):
    levels = draw(st.lists(st.sampled_from([*WORDS, "+", "+"]), min_size=0, max_size=3))
    if not levels or draw(st.booleans()):
        levels.append("#" if draw(st.booleans()) else "a")
    return "/".join(levels) or "/"  # an empty one is no filter


def covered(topic_filter: str) -> frozenset[str]:
    return frozenset(name for name in NAMES if reference(topic_filter.split("/"), name.split("/")))


@given(st.lists(filters(), min_size=1, max_size=8), st.sampled_from(NAMES))
def test_match_is_the_reference(texts, name):
    trie = TopicTrie(Grant(name=str(place), filter=text) for place, text in enumerate(texts))
    expected = {str(place) for place, text in enumerate(texts) if reference(text.split("/"), name.split("/"))}
    found = [grant.name for grant in trie.match(name)]
    assert set(found) == expected and len(found) == len(expected)


@given(filters(), st.lists(filters(), min_size=1, max_size=6))
def test_containment_is_brute_force(wanted, texts):
    trie = TopicTrie(Grant(name=str(place), filter=text) for place, text in enumerate(texts))
    names = covered(wanted)
    expected = {str(place) for place, text in enumerate(texts) if names <= covered(text)}
    found = [grant.name for grant in trie.containing(wanted)]
    assert set(found) == expected and len(found) == len(expected)


@given(st.lists(filters(), min_size=1, max_size=6), filters(), st.sampled_from(NAMES))
def test_placeholders_mean_their_values(texts, wanted, name):
    filled = {"${device}": "a", "x-${class}": "b"}
    names = {"a": "${device}", "b": "x-${class}"}
    templates = ["/".join(names.get(level, level) for level in text.split("/")) for text in texts]
    plain = TopicTrie(Grant(name=str(place), filter=text) for place, text in enumerate(texts))
    slotted = TopicTrie(Grant(name=str(place), filter=text) for place, text in enumerate(templates))
    for ask, answer in (
        (plain.match(name), slotted.match(name, filled)),
        (plain.containing(wanted), slotted.containing(wanted, filled)),
    ):
        assert {grant.name for grant in ask} == {grant.name for grant in answer} and len(ask) == len(answer)
