"""Flows out of parsed packets: a bounded table and the reports that leave it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from thingward.model.columns import FLOW, FLOW_STATES, I32, I64, PacketColumns, Rows
from thingward.wire.packets import flowtable as kernels

_NS = 1_000_000_000
_OUT = 8192
_NEVER_S = 10.0 * 365 * 86400
_LONE = (FLOW_STATES.index("new"), FLOW_STATES.index("whole"))


class FlowLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and times of a flow table.

    Attributes:
        flows: most flows at once, rounded up to a power of two.
        idle_tcp_s, idle_other_s, idle_frames_s: a flow that is silent for longer is over; `frames` are those
            without IP (ARP, EAPOL, LLDP ...).
        linger_s: a closed TCP connection is reported after this time.
        update_s: a lasting flow is reported this often; `first_update_s`: the first time.
        report_new: report each flow with its first packet (live), not only at its end (files).
        reports: most reports that one call may give; more are merged, then counted and dropped.
    """

    flows: int = 131072
    idle_tcp_s: float = 300.0
    idle_other_s: float = 120.0
    idle_frames_s: float = 1800.0
    linger_s: float = 5.0
    update_s: float = 3600.0
    first_update_s: float = 3600.0
    report_new: bool = False
    reports: int = 32768

    @classmethod
    def live(cls) -> FlowLimits:
        """Give the limits for a live interface: every flow at once, then counts after 1 s and every 30 s."""
        return cls(update_s=30.0, first_update_s=1.0, linger_s=1.0, report_new=True)


@dataclass(frozen=True, slots=True)
class FlowUpdate:
    """What one batch did to the table.

    Attributes:
        reports: dtype FLOW.
        slots, numbers: per row of the batch, as `update_flows` documents them.
    """

    reports: Rows
    slots: I32
    numbers: I64


class FlowTable:
    """Counts packets into flows; memory is fixed when it is made.

    Attributes:
        entries: the table itself, for the payload kernels.
        reports_dropped: reports that were more than a call may give.
    """

    def __init__(self, limits: FlowLimits | None = None, *, seed: int = 0) -> None:
        """Make an empty table; `seed` keeps others from guessing which flows share a bucket."""
        limits = limits or FlowLimits()
        size = max(kernels.WAYS, 1 << (max(limits.flows, 1) - 1).bit_length())
        self.entries: Rows = np.zeros(size, kernels.ENTRY)
        self._tags = np.zeros(size, np.uint32)
        self._settings = _settings(limits)
        self._counters = np.zeros(kernels.COUNTERS, np.int64)
        self._seed = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
        self._limit = limits.reports
        self.reports_dropped = 0

    @property
    def active(self) -> int:
        """Flows in the table."""
        return int(self._counters[kernels.C_ACTIVE])

    @property
    def begun(self) -> int:
        """Flows seen so far."""
        return int(self._counters[kernels.C_FLOWS])

    @property
    def evicted(self) -> int:
        """Flows reported before their time to make room."""
        return int(self._counters[kernels.C_EVICTED])

    @property
    def refused(self) -> int:
        """Packets of flows that found no room."""
        return int(self._counters[kernels.C_REFUSED])

    def update(self, columns: PacketColumns) -> FlowUpdate:
        """Count the rows of a batch."""
        rows = columns.rows
        slots = np.empty(len(rows), np.int32)
        numbers = np.full(len(rows), -1, np.int64)
        parts = []
        at = 0
        while at < len(rows):
            out: Rows = np.empty(min(_OUT, 2 * (len(rows) - at) + 2), FLOW)
            at, count = kernels.update_flows(
                rows, at, self.entries, self._tags, self._settings, self._counters, self._seed,
                columns.batch.base, slots, numbers, out,
            )  # fmt: skip
            parts.append(out[:count])
        return FlowUpdate(self._bounded(parts), slots, numbers)

    def sweep(self, now_ns: int, *, finish: bool = False) -> Rows:
        """Report flows that are over or due; with `finish`, end them all."""
        parts = []
        slot = 0
        while slot < len(self._tags):
            out: Rows = np.empty(_OUT, FLOW)
            slot, count = kernels.sweep_flows(
                slot, now_ns, finish, self.entries, self._tags, self._settings, self._counters, out
            )
            if count:
                parts.append(out[:count])
        return self._bounded(parts)

    def close_heads(self, slots: list[int], numbers: list[int]) -> None:
        """Hand out no more payloads of these flows; a slot that has become another flow's is left alone.

        Args:
            slots: as in `FlowUpdate.slots`.
            numbers: of the flows, as in `FlowUpdate.numbers`.
        """
        if not slots:
            return
        places = np.array(slots, np.int64) >> 2
        places = places[self.entries["flow"][places] == np.array(numbers, np.uint64)]
        self.entries["a_head"][places] = kernels.HEAD_CLOSED
        self.entries["b_head"][places] = kernels.HEAD_CLOSED

    def _bounded(self, parts: list[Rows]) -> Rows:
        reports: Rows = np.concatenate(parts) if parts else np.empty(0, FLOW)
        if len(reports) <= self._limit:
            return reports
        merged = merge_lone(reports)
        self.reports_dropped += max(0, len(merged) - self._limit)
        return merged[: self._limit]


def merge_lone(reports: Rows) -> Rows:
    """Add up one-way flows of one sender to one service of one receiver: what a flood with spoofed senders makes.

    A merged report has no source address and port; its other fields are those of the first flow it stands for.
    """
    is_lone = (reports["packets_in"] == 0) & np.isin(reports["state"], _LONE)
    lone = reports[is_lone]
    keys = np.stack([lone[name].astype(np.uint64) for name in ("src_mac", "dst_mac", "dst_hi", "dst_lo")], axis=1)
    service = lone["dport"].astype(np.uint64) << np.uint64(8) | lone["proto"].astype(np.uint64)
    keys = np.concatenate([keys, service[:, None]], axis=1)
    _, first, group, count = np.unique(keys, axis=0, return_index=True, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    merged = lone[first].copy()
    for name in ("packets_out", "bytes_out"):
        merged[name] = np.bincount(group, weights=lone[name], minlength=len(first)).astype(np.int64)
    last = np.zeros(len(first), np.int64)
    np.maximum.at(last, group, lone["last_ns"])
    merged["last_ns"] = last
    several = count > 1
    for name in ("src_hi", "src_lo", "sport"):
        merged[name][several] = 0
    result: Rows = np.concatenate([reports[~is_lone], merged])
    return result


def _settings(limits: FlowLimits) -> I64:
    values = np.zeros(kernels.SETTINGS, np.int64)
    for index, seconds in (
        (kernels.S_IDLE_TCP, limits.idle_tcp_s),
        (kernels.S_IDLE_OTHER, limits.idle_other_s),
        (kernels.S_IDLE_FRAMES, limits.idle_frames_s),
        (kernels.S_LINGER, limits.linger_s),
        (kernels.S_UPDATE, limits.update_s),
        (kernels.S_FIRST_UPDATE, limits.first_update_s),
    ):
        values[index] = int(min(seconds, _NEVER_S) * _NS)
    values[kernels.S_REPORT_NEW] = int(limits.report_new)
    return values
