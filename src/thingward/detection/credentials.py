"""Credentials against lists: runs on observations, before normalising, and lets no digest of a pair pass on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import msgspec

from thingward.model.flow import Output
from thingward.model.observation import CredentialData, Observation
from thingward.model.packed import unpack
from thingward.model.record import Record

SPAN_S = 600.0
MAX_SOURCES = 20_000
MAX_TRIES = 256
# Two bytes of a digest tell two pairs of one source apart; they are too few to confirm a guess.
_MARK_DIGITS = 4


# Protocols that answer every log-in in so many words: without the answer a try may well have been a success.
_ANSWERED = frozenset({"mqtt"})
# Where a worm's tries are counted even if the answer was not seen; elsewhere a hub may know such passwords.
_SHELLS = frozenset({"telnet", "ftp", "ssh"})


class _Tries(msgspec.Struct):
    """Pairs that were tried in vain: mark to (time, True), oldest first."""

    marks: dict[str, tuple[float, bool]] = {}


_states = msgspec.msgpack.Decoder(dict[str, _Tries])


class CredentialStage:
    """Names the lists that hold a seen pair and counts the different pairs that one source tried in vain.

    `tries` counts by source, target and protocol: a hub that knows a password for each of its cameras guesses nothing.
    `listed` counts pairs of attack lists by source over all targets: worms try few at each. Every `CredentialData` leaves with `lists`, `tries` and `listed` set and `pair` empty.

    Args:
        lists: name of a list to its pair digests (`model.observation.pair_digest`).
        attack_lists: which of them are lists that attackers try (`mirai`), as against vendors' defaults.
    """

    name = "credentials"

    def __init__(self, lists: Mapping[str, frozenset[str]], attack_lists: Sequence[str] = ("mirai",)) -> None:
        self._lists = dict(lists)
        self._attack_lists = frozenset(attack_lists)
        self._sources: OrderedDict[str, _Tries] = OrderedDict()

    def feed(self, batch: Sequence[Record], now: float) -> Output:
        """Compare the credentials of a batch; everything else passes through."""
        return Output(
            records=[
                self._compare(record, record.data)
                if type(record) is Observation and type(record.data) is CredentialData
                else record
                for record in batch
            ]
        )

    def tick(self, now: float) -> Output:
        """Do nothing: windows end by the observations' own time."""
        return Output()

    def snapshot(self) -> bytes:
        """Give the counts; they hold two bytes of each digest, never more."""
        return msgspec.msgpack.encode(self._sources)

    def restore(self, state: bytes) -> None:
        """Take what `snapshot` gave; raises InvalidInput for anything else."""
        held = unpack(_states, state, "a state of the credential stage")
        self._sources = OrderedDict(held)

    def _compare(self, observation: Observation, data: CredentialData) -> Observation:
        names = tuple(name for name, pairs in self._lists.items() if data.pair and data.pair in pairs)
        tries, listed = self._count(observation, data, not self._attack_lists.isdisjoint(names))
        seen = msgspec.structs.replace(data, pair="", lists=names, tries=tries, listed=listed)
        return msgspec.structs.replace(observation, data=seen)

    def _count(self, observation: Observation, data: CredentialData, is_listed: bool) -> tuple[int, int]:
        if not data.pair or observation.src is None:
            return 0, 0
        src, dst = observation.src, observation.dst
        source = f"{observation.tenant}\n{observation.site}\n{src.ip or src.mac}"
        target = f"{source}\n{(dst.ip or dst.mac) if dst else ''}\n{data.protocol}"
        in_vain = data.outcome == "failure" or (data.outcome == "unknown" and data.protocol not in _ANSWERED)
        by_worm = data.outcome == "failure" or (data.outcome == "unknown" and data.protocol in _SHELLS)
        tries = self._add(target, data.pair, observation.time, counts=in_vain)
        return tries, self._add(source, data.pair, observation.time, counts=by_worm and is_listed)

    def _add(self, key: str, pair: str, time: float, *, counts: bool) -> int:
        """Note a pair, or that it is none to count; gives how many count within the span before."""
        entry = self._sources.pop(key, None)
        if entry is None:
            if not counts:
                return 0
            entry = _Tries()
        self._sources[key] = entry
        if len(self._sources) > MAX_SOURCES:
            self._sources.popitem(last=False)
        marks = entry.marks
        mark = pair[:_MARK_DIGITS]
        marks.pop(mark, None)
        if counts:
            marks[mark] = (time, True)
        for old in [m for m, (at, _) in marks.items() if at < time - SPAN_S]:
            del marks[old]
        while len(marks) > MAX_TRIES:
            del marks[next(iter(marks))]
        return len(marks)
