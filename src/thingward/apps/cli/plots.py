"""Small SVG plots for the self-contained report: no script, no address, readable in dark and light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log1p

from markupsafe import Markup

from thingward.apps.cli import words
from thingward.model.profile import Settledness
from thingward.ports.event_store import PeerRow, TrafficPoint

_WIDTH, _HEIGHT, _PAD = 640, 120, 28
_BAR = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>')


def traffic_plot(points: Sequence[TrafficPoint]) -> Markup:
    """Draw bytes from (up) and to (down) the device over time, one bar per bucket."""
    if not points:
        return Markup("")
    top = max(max(point.bytes_out, point.bytes_in) for point in points) or 1
    step = (_WIDTH - 2 * _PAD) / len(points)
    middle = _HEIGHT / 2
    bars = []
    for index, point in enumerate(points):
        x = _PAD + index * step
        for count, css, sign in ((point.bytes_out, "out", -1), (point.bytes_in, "in", 1)):
            height = (middle - 12) * log1p(count) / log1p(top)
            y = middle - height if sign < 0 else middle
            if height > 0:
                bars.append(_BAR.format(css, f"{x:.1f}", f"{y:.1f}", f"{max(step - 1, 1):.1f}", f"{height:.1f}"))
    label = f"{words.time_text(points[0].time)} to {words.time_text(points[-1].time)} UTC, peak {words.bytes_text(top)}"
    axis = Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_PAD, _WIDTH - _PAD, middle, middle)
    legend = _legend((("out", "sent (above)"), ("in", "received (below)")))
    return _svg("Traffic: sent above, received below, logarithmic", axis + Markup("").join(bars) + legend, label)


def learning_plot(settled: Settledness) -> Markup:
    """Draw how many entries the profile had after how many flows: flat means settled."""
    curve = settled.curve
    if len(curve) < 2 or not curve[-1][1]:
        return Markup("")
    most_flows, most_entries = curve[-1][0] or 1, max(entries for _, entries in curve) or 1
    xs = [(_PAD + (_WIDTH - 2 * _PAD) * flows / most_flows) for flows, _ in curve]
    ys = [(_HEIGHT - 18 - (_HEIGHT - 36) * entries / most_entries) for _, entries in curve]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    label = f"{curve[-1][1]} entries after {most_flows} flows; share of new flows is at most {settled.unseen_bound:.1%} (95 %)"
    line = Markup('<polyline class="curve" points="{}"/>').format(path)
    return _svg("Learning curve: entries over flows", _axes(most_flows, most_entries) + line, label)


def _axes(most_x: int, most_y: int) -> Markup:
    """Draw both axes with their ends and names: flows along, entries upwards."""
    left, right, bottom, top = _PAD, _WIDTH - _PAD, _HEIGHT - 18, 18
    line = Markup('<line class="axis" x1="{}" y1="{}" x2="{}" y2="{}"/>')
    text = Markup('<text class="note" x="{}" y="{}" text-anchor="{}">{}</text>')
    return Markup("").join(
        (
            line.format(left, bottom, right, bottom),
            line.format(left, bottom, left, top - 6),
            text.format(left - 4, top + 4, "end", most_y),
            text.format(left - 4, bottom, "end", 0),
            text.format(left + 4, 10, "start", "entries"),
            text.format(right, bottom - 4, "end", "1 flow" if most_x == 1 else f"{most_x:,} flows"),
        )
    )


def _legend(parts: Sequence[tuple[str, str]]) -> Markup:
    mark = Markup('<circle class="{}" cx="{}" cy="7" r="4.5"/><text class="note" x="{}" y="10">{}</text>')
    places = [_WIDTH - _PAD - 130 * (len(parts) - index) for index in range(len(parts))]
    rows = [mark.format(css, x, x + 9, text) for x, (css, text) in zip(places, parts, strict=True)]
    return Markup("").join(rows)


def peers_plot(name: str, peers: Sequence[PeerRow], names: Mapping[str, str], most: int = 12) -> Markup:
    """Draw whom the device talks to: one line per peer, thicker with more bytes."""
    rows = sorted(peers, key=lambda row: -(row.bytes_in + row.bytes_out))[:most]
    if not rows:
        return Markup("")
    height = max(60, 24 * len(rows) + 16)
    top = max(row.bytes_in + row.bytes_out for row in rows) or 1
    parts = []
    for index, row in enumerate(rows):
        y = 20 + 24 * index
        width = 0.6 + 5 * log1p(row.bytes_in + row.bytes_out) / log1p(top)
        css = "local" if row.is_device else "remote"
        what = row.app or words.protocol_text(row.proto, row.port)
        text = f"{names.get(row.peer, row.peer)}  {what}  {row.flows} flows, {words.bytes_text(row.bytes_in + row.bytes_out)}"
        line = Markup(
            '<path class="{}" d="M150,{} C220,{} 220,{} 290,{}" stroke-width="{}"/><text x="296" y="{}">{}</text>'
        )
        half = f"{height / 2:.0f}"
        parts.append(line.format(css, half, half, y, y, f"{width:.1f}", y + 4, text))
    own = Markup('<text x="144" y="{}" text-anchor="end" class="self">{}</text>')
    parts.append(own.format(f"{height / 2 + 4:.0f}", name if len(name) <= 20 else name[:19] + "…"))
    key = Markup('<path class="{}" d="M2,{} H22" stroke-width="3"/><text class="note" x="27" y="{}">{}</text>')
    parts += [
        key.format(css, y, y + 4, text) for css, y, text in (("local", 10, "on the site"), ("remote", 26, "outside"))
    ]
    frame = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="Whom it talks to">{}</svg>')
    return frame.format(_WIDTH + 160, height, Markup("").join(parts))


def _svg(title: str, body: Markup, label: str) -> Markup:
    frame = Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>{}<text x="{}" y="{}" class="note">{}</text></svg>'
    )
    return frame.format(_WIDTH, _HEIGHT, title, title, body, _PAD, _HEIGHT - 3, label)
