"""Indicator packs: lists of bad addresses, networks, names and TLS fingerprints, and the matcher over them."""

from __future__ import annotations

import bisect
import csv
import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from thingward.model.errors import InvalidInput
from thingward.model.terms import address_kind

MAX_INDICATORS = 2_000_000
MAX_LINE = 4096
#: Networks of addresses that sites use inside match from this length on: a wider one would name whole sites.
PRIVATE_PREFIX = {4: 24, 6: 64}
IndicatorKind = Literal["address", "network", "name", "ja4"]
_NAME = re.compile(r"^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{2,63}$")
_JA4 = re.compile(r"^[tqd][0-9a-z]{2}[di][0-9]{4}[0-9a-z]{2}_[0-9a-f]{12}_[0-9a-f]{12}$")
_STIX = re.compile(r"\[?\s*(ipv4-addr|ipv6-addr|domain-name|url):value\s*=\s*'([^']+)'")
_HASH = re.compile(r"^(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})$", re.IGNORECASE)
_URL_HOST = re.compile(r"^[a-z][a-z0-9+.-]*://(?:[^@/?#]*@)?(\[[0-9a-f:.]+\]|[^:/?#]+)", re.IGNORECASE)


class Indicator(msgspec.Struct, frozen=True):
    """One pattern: `network` in CIDR form, `name` lower case without a final dot (it covers the names below it)."""

    kind: IndicatorKind
    value: str


class IndicatorPack(msgspec.Struct, frozen=True, kw_only=True):
    """A list from one source.

    Attributes:
        name: what people call it; named in every finding.
        confidence: 0 to 1, of the list as a whole.
        refused: what was no indicator, at most 100, `line 7: why: text`; refused_count counts all.
    """

    name: str
    indicators: tuple[Indicator, ...] = ()
    confidence: float = 0.8
    refused: tuple[str, ...] = ()
    refused_count: int = 0


class Sighting(msgspec.Struct, frozen=True):
    """A match: which pack said so, what its pattern was, how sure it is."""

    pack: str
    pattern: str
    confidence: float


def parse_indicator(text: str) -> Indicator | None:
    """Read one address, network, name, URL (its host counts) or JA4 fingerprint; None if it is none of them."""
    value = text.strip().strip("\"'").replace("[.]", ".").replace("hxxp", "http")
    url = _URL_HOST.match(value)
    if url:
        value = url.group(1).strip("[]")
    value = value.lower().rstrip(".")
    if not value or len(value) > 253:
        return None
    if value[0].isdigit() or ":" in value:
        found = _parse_address(value)
        if found is not None:
            return found
    if _JA4.match(value):
        return Indicator("ja4", value)
    value = value.removeprefix("*.").removeprefix(".")
    if _NAME.match(value) and not value.rpartition(".")[2].isdigit():
        return Indicator("name", value)
    return None


def _parse_address(value: str) -> Indicator | None:
    if value.count(":") == 1 and "." in value:
        value = value.partition(":")[0]  # address:port
    try:
        if "/" in value:
            network = ipaddress.ip_network(value, strict=False)
            if network.num_addresses > 1:
                return Indicator("network", network.with_prefixlen)
            value = str(network.network_address)
        return Indicator("address", ipaddress.ip_address(value).compressed)
    except ValueError:
        return None


def fault_of(text: str) -> str:
    """Say why a text is no indicator."""
    value = text.strip()
    if len(value) > 253:
        return "longer than a name can be"
    if value.startswith("["):
        return "a pattern on something else than addresses, names and URLs"
    if _HASH.match(value):
        return "a file's hash, which traffic does not show"
    if value[:1].isdigit() and not value.strip("0123456789abcdefABCDEF.:/"):
        return "no address or network of that kind exists"
    if any(letter.isspace() for letter in value):
        return "several words"
    if "." not in value:
        return "no address, network, URL or JA4 fingerprint, and a name has a dot"
    return "not spelled as an address, network, name or URL"


def why_never(indicator: Indicator) -> str:
    """Say why an address or network is never matched; empty if it is."""
    if indicator.kind not in ("address", "network"):
        return ""
    network = ipaddress.ip_network(indicator.value)
    if network.is_loopback or network.is_multicast or network.is_unspecified or indicator.value == "255.255.255.255":
        return "never matched: an address that no single host of a network has"
    is_inside = address_kind(str(network[0])) == address_kind(str(network[-1])) == "private"
    if network.prefixlen == 0 or (is_inside and network.prefixlen < PRIVATE_PREFIX[network.version]):
        least = PRIVATE_PREFIX[network.version]
        return f"never matched: so many addresses that sites use themselves (single ones, and /{least} or longer, are)"
    return ""


def parse_pack(name: str, text: str, *, confidence: float = 0.8) -> IndicatorPack:
    """Read a list in any of three forms: plain lines (`#` or `;` comments), CSV, or a STIX 2 bundle.

    In CSV the first field of a line that is an indicator counts, whichever column it is in. What can never match is
    refused like what is no indicator, with the reason.

    Raises:
        InvalidInput: nothing in it is an indicator, or it holds more than two million.
    """
    lines = _stix_values(text) if text.lstrip()[:1] == "{" else _line_values(text)
    found: dict[Indicator, None] = {}
    refused: list[str] = []
    count = 0
    for place, candidates in lines:
        indicator = next((i for i in map(parse_indicator, candidates) if i is not None), None)
        never = why_never(indicator) if indicator is not None else ""
        if indicator is None or never:
            count += 1
            if len(refused) < 100:
                refused.append(f"{place}: {never or _fault(candidates)}: {candidates[0][:80]}")
            continue
        found[indicator] = None
        if len(found) > MAX_INDICATORS:
            raise InvalidInput(f"{place}: more than {MAX_INDICATORS} indicators.", hint="Split the list.")
    if not found:
        raise InvalidInput(
            f"no indicator in {count} entries; {refused[0]}." if refused else "no indicator: it is empty.",
            hint="Give one address, network, name or JA4 fingerprint a line, a CSV file, or a STIX 2 bundle.",
        )
    return IndicatorPack(
        name=name,
        indicators=tuple(found),
        confidence=confidence,
        refused=tuple(refused),
        refused_count=count,
    )


def _fault(candidates: list[str]) -> str:
    return fault_of(candidates[0]) if len(candidates) == 1 else f"none of {len(candidates)} fields is one"


def _line_values(text: str) -> Iterator[tuple[str, list[str]]]:
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw[:MAX_LINE].split("#", 1)[0].strip()
        if not line or line.startswith(";"):
            continue
        # A hosts file (`0.0.0.0 name`) means the name.
        parts = line.split()
        if len(parts) == 2 and parts[0] in ("0.0.0.0", "127.0.0.1", "::", "::1"):
            yield f"line {number}", [parts[1]]
            continue
        delimiter = next((d for d in ",;\t" if d in line), None)
        fields = next(csv.reader([line], delimiter=delimiter)) if delimiter else [line]
        yield f"line {number}", [field for field in fields if field.strip()] or [line]


def _stix_values(text: str) -> Iterator[tuple[str, list[str]]]:
    try:
        bundle: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"line {error.lineno}: not JSON, so no STIX bundle: {error.msg}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"not a STIX bundle: {error}.") from error
    objects = bundle.get("objects", []) if isinstance(bundle, dict) else []
    for item in objects if isinstance(objects, list) else []:
        if not isinstance(item, dict):
            continue
        place = str(item.get("id", "?"))[:80]
        if item.get("type") == "indicator" and not item.get("revoked"):
            values = [value for _, value in _STIX.findall(str(item.get("pattern", ""))[:MAX_LINE])]
            for value in values or [str(item.get("pattern", ""))[:80]]:
                yield place, [value]
        elif item.get("type") in ("ipv4-addr", "ipv6-addr", "domain-name", "url"):
            yield place, [str(item.get("value", ""))]


class IndicatorMatcher:
    """Exact sets, and sorted intervals for networks; a look-up does not grow with the number of indicators.

    Args:
        packs: lists; the first that holds a value is named.
        never: values that never match whatever a list says (own servers, big resolvers), same forms.
    """

    def __init__(self, packs: Iterable[IndicatorPack] = (), never: Iterable[str] = ()) -> None:
        self._packs = tuple(packs)
        self._exact: dict[IndicatorKind, dict[str, int]] = {"address": {}, "name": {}, "ja4": {}}
        spans: dict[int, list[tuple[int, int, int, str]]] = {4: [], 6: []}
        for index, pack in enumerate(self._packs):
            for indicator in pack.indicators:
                if indicator.kind == "network":
                    network = ipaddress.ip_network(indicator.value)
                    first, last = int(network.network_address), int(network.broadcast_address)
                    spans[network.version].append((first, last, index, indicator.value))
                else:
                    self._exact[indicator.kind].setdefault(indicator.value, index)
        self._never = frozenset(i for i in map(parse_indicator, never) if i is not None)
        self._intervals = {version: _Intervals(rows) for version, rows in spans.items()}
        self.size = sum(len(pack.indicators) for pack in self._packs)

    def match_address(self, ip: str) -> Sighting | None:
        """Look an address up."""
        if not ip or Indicator("address", ip) in self._never:
            return None
        index = self._exact["address"].get(ip)
        if index is not None:
            return self._sighting(index, ip)
        version = 6 if ":" in ip else 4
        intervals = self._intervals[version]
        if not intervals:
            return None
        try:
            found = intervals.find(int(ipaddress.ip_address(ip.partition("%")[0])))
        except ValueError:
            return None
        if found and address_kind(ip) == "private" and int(found[1].partition("/")[2]) < PRIVATE_PREFIX[version]:
            return None
        return self._sighting(*found) if found else None

    def match_name(self, name: str) -> Sighting | None:
        """Look a name up, then every name above it down to two labels."""
        table = self._exact["name"]
        name = name.lower().rstrip(".")
        while table and "." in name:
            if Indicator("name", name) in self._never:
                return None
            index = table.get(name)
            if index is not None:
                return self._sighting(index, name)
            name = name.partition(".")[2]
        return None

    def match_ja4(self, fingerprint: str) -> Sighting | None:
        """Look a TLS client fingerprint up."""
        index = self._exact["ja4"].get(fingerprint)
        return None if index is None else self._sighting(index, fingerprint)

    def _sighting(self, index: int, pattern: str) -> Sighting:
        pack = self._packs[index]
        return Sighting(pack.name, pattern, pack.confidence)


class _Intervals:
    """Networks as sorted spans. Two networks are disjoint or nested, so a span's parent is found by its index."""

    def __init__(self, rows: list[tuple[int, int, int, str]]) -> None:
        rows.sort(key=lambda row: (row[0], -row[1]))
        self._starts = [row[0] for row in rows]
        self._rows = rows
        self._parents: list[int] = []
        open_rows: list[int] = []
        for position, (first, _, _, _) in enumerate(rows):
            while open_rows and rows[open_rows[-1]][1] < first:
                open_rows.pop()
            self._parents.append(open_rows[-1] if open_rows else -1)
            open_rows.append(position)

    def __bool__(self) -> bool:
        return bool(self._rows)

    def find(self, value: int) -> tuple[int, str] | None:
        """Give (pack index, network) of the narrowest network that holds the value."""
        position = bisect.bisect_right(self._starts, value) - 1
        while position >= 0:
            _, last, pack, text = self._rows[position]
            if value <= last:
                return pack, text
            position = self._parents[position]
        return None
