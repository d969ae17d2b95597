"""Whom a device talks to, as a small picture: its own site on the left, the rest of the world on the right."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from thingward.apps.server.console.coverage import Coverage
from thingward.apps.server.console.words import PROTOCOLS, SERVICES
from thingward.ports.event_store import PeerRow

SIDE_LIMIT: Final = 9
WIDTH: Final = 880
ROW: Final = 38
TOP: Final = 40
_CENTRE: Final = 440
_LEFT: Final = 262
_RIGHT: Final = 618
_HALF_BOX: Final = 84


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One peer in the picture: where it stands, what it is called, the curve to it, and how thick."""

    label: str
    detail: str
    href: str = ""
    x: int
    y: float
    anchor: str
    dot_x: int
    curve: str
    width: float
    status: str
    total_bytes: int = 0


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """The whole picture; `hidden` peers did not fit."""

    nodes: tuple[Node, ...]
    height: int
    middle: float
    hidden_local: int = 0
    hidden_outside: int = 0
    width: int = WIDTH
    centre: int = _CENTRE
    half_box: int = _HALF_BOX


class _Peer(msgspec.Struct):
    key: str
    is_local: bool
    is_device: bool
    services: dict[str, None]
    total: int = 0
    refused: bool = False


def draw_graph(
    rows: tuple[PeerRow, ...], *, names: dict[str, str], approved: Coverage | None, is_local: dict[str, bool]
) -> Graph:
    """Lay out the picture.

    Args:
        rows: conversations, largest first. names: devices' names by uid.
        approved: entries in force; None if nothing is, then nothing is coloured as refused.
        is_local: whether a peer that is no device belongs to the site.
    """
    peers = _fold(rows, approved, is_local)
    left = [peer for peer in peers if peer.is_local]
    right = [peer for peer in peers if not peer.is_local]
    count = max(min(len(left), SIDE_LIMIT), min(len(right), SIDE_LIMIT), 3)
    height = TOP + 26 + ROW * (count - 1)
    middle = TOP + ROW * (count - 1) / 2
    largest = max((peer.total for peer in peers), default=1)
    nodes = [
        _node(peer, index, len(side), names, middle, largest, is_left)
        for side, is_left in ((left[:SIDE_LIMIT], True), (right[:SIDE_LIMIT], False))
        for index, peer in enumerate(side)
    ]
    return Graph(
        nodes=tuple(nodes),
        height=height,
        middle=middle,
        hidden_local=max(0, len(left) - SIDE_LIMIT),
        hidden_outside=max(0, len(right) - SIDE_LIMIT),
    )


def _fold(rows: tuple[PeerRow, ...], approved: Coverage | None, is_local: dict[str, bool]) -> list[_Peer]:
    peers: dict[str, _Peer] = {}
    for row in rows:
        local = row.is_device or is_local.get(row.peer, False)
        peer = peers.setdefault(row.peer, _Peer(row.peer, local, row.is_device, {}))
        peer.total += row.bytes_in + row.bytes_out
        peer.services.setdefault(_service(row), None)
        if approved is not None and not approved.has(row, is_local=local):
            peer.refused = True
    return sorted(peers.values(), key=lambda peer: (not peer.refused, -peer.total))


def _service(row: PeerRow) -> str:
    known = SERVICES.get((row.proto, row.port))
    word = PROTOCOLS.get(row.proto, str(row.proto))
    return known or (f"{word} {row.port}" if row.port else word)


def _node(
    peer: _Peer, index: int, count: int, names: dict[str, str], middle: float, largest: int, is_left: bool
) -> Node:
    y = middle + (index - (count - 1) / 2) * ROW
    end = _LEFT if is_left else _RIGHT
    start = _CENTRE - _HALF_BOX if is_left else _CENTRE + _HALF_BOX
    bend = (start + end) / 2
    weight = math.log1p(peer.total) / math.log1p(max(largest, 1))
    label = names.get(peer.key, peer.key)
    services = list(peer.services)
    more = f" +{len(services) - 3}" if len(services) > 3 else ""
    return Node(
        label=label if len(label) <= 30 else label[:29] + "…",
        detail=", ".join(services[:3]) + more,
        href=f"/devices/{peer.key}" if peer.is_device else "",
        x=end - 12 if is_left else end + 12,
        y=y,
        anchor="end" if is_left else "start",
        dot_x=end,
        curve=f"M{start} {middle:g} C{bend:g} {middle:g} {bend:g} {y:g} {end} {y:g}",
        width=round(1.2 + 4.3 * weight, 2),
        status="refused" if peer.refused else "known",
        total_bytes=peer.total,
    )


def draw_curve(points: tuple[tuple[int, int], ...], *, width: int = 320, height: int = 96) -> str:
    """Give the SVG path of a learning curve: flows seen along, entries so far upwards; empty below two points."""
    if len(points) < 2:
        return ""
    most_x = max(x for x, _ in points) or 1
    most_y = max(y for _, y in points) or 1
    steps = [(x / most_x * width, height - y / most_y * (height - 6)) for x, y in points]
    path = f"M{steps[0][0]:.1f} {steps[0][1]:.1f}"
    for x, y in steps[1:]:
        path += f" H{x:.1f} V{y:.1f}"
    return path
