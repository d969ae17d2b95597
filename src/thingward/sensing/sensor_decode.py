"""Chosen payloads to observations: streams, datagrams, neighbours; what was just said is not said again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from thingward.model.observation import Endpoint, IdentityData, Observation
from thingward.sensing.meanings import RECEIVER, SENDER, Meaning, Meanings
from thingward.sensing.sensor_payloads import DatagramCache, Ends, Messages, PayloadLimits, Picked
from thingward.sensing.sensor_records import RecordMaker, read_arp, read_ndp
from thingward.sensing.streams import HeadStreams, StreamLimits
from thingward.wire.dispatch import stream_decoder
from thingward.wire.message import StreamDecoder
from thingward.wire.packets import payloads as kernels
from thingward.wire.packets.flowtable import FROM_INITIATOR

_MAX_DESCRIBED = 65536
_MAX_SAID = 65536
_MAX_REASONS = 256
_ARP_REQUEST = b"\0\1"
_NOTHING = ("", "")


class PayloadDecoder:
    """Decodes what was chosen and remembers, per flow, what it turned out to be.

    Attributes:
        described: application and server name by flow number.
        malformed: reason to count.
        streams: the connections whose heads are being read.
    """

    def __init__(self, make: RecordMaker, payloads: PayloadLimits, streams: StreamLimits) -> None:
        self._make = make
        self._limits = payloads
        self._datagrams = DatagramCache(payloads.cached)
        self._meanings = Meanings(payloads)
        self._ends = Ends(make.addresses)
        self._said: OrderedDict[Hashable, float] = OrderedDict()
        self._holders: OrderedDict[str, str] = OrderedDict()
        self.streams = HeadStreams(_choose, streams)
        self.described: OrderedDict[int, tuple[str, str]] = OrderedDict()
        self.malformed: dict[str, int] = {}

    def decode(self, picked: Picked) -> tuple[list[Observation], list[int], list[int]]:
        """Decode a batch's choice.

        Returns:
            Observations; slots and numbers of flows whose further payloads are of no interest.
        """
        records: list[Observation] = []
        closed: dict[int, int] = {}
        steps = self.streams.memory.steps()
        for index, kind in enumerate(picked.kinds):
            if kind == kernels.W_STEP:
                step = steps[picked.starts[index]]
                if step.found:
                    self._step(picked, index, step.found, records)
                if step.over:
                    closed[picked.numbers[index]] = picked.slots[index]
            elif kind == kernels.W_SEGMENT:
                number = picked.numbers[index]
                if number not in closed and self._segment(picked, index, number, records):
                    closed[number] = picked.slots[index]
            elif kind == kernels.W_DATAGRAM:
                self._datagram(picked, index, records)
            else:
                self._neighbour(picked, index, kind, records)
        self.streams.end_batch()
        return records, list(closed.values()), list(closed)

    def end_flow(self, flow: int, report: Any, parent: str) -> list[Observation]:
        """A flow ended: say what its connection left unanswered."""
        records: list[Observation] = []
        messages = self.streams.finish(flow)
        if messages:
            src, dst = self._make.reported_ends(report)
            time = int(report["last_ns"]) / 1e9
            self._describe(flow, self._observe(time, parent, src, dst, messages, records))
        return records

    def describe_ended(self, flows: list[int], ended: list[bool]) -> list[tuple[str, str]]:
        """Give application and server name of each flow, empty where not known; those that ended are forgotten."""
        get, pop = self.described.get, self.described.pop
        return [
            pop(flow, _NOTHING) if is_over else get(flow, _NOTHING) for flow, is_over in zip(flows, ended, strict=True)
        ]

    def count(self, reason: str) -> None:
        """Count something malformed; the number of reasons is bounded."""
        if reason in self.malformed or len(self.malformed) < _MAX_REASONS:
            self.malformed[reason] = self.malformed.get(reason, 0) + 1

    def is_news(self, key: Hashable, time: float, repeat_s: float) -> bool:
        """Note that something is said; false if it was said less than `repeat_s` ago."""
        before = self._said.get(key)
        if before is not None:
            if abs(time - before) < repeat_s:
                return False
        elif len(self._said) >= _MAX_SAID:
            self._said.popitem(last=False)
        self._said[key] = time
        return True

    def _segment(self, picked: Picked, index: int, number: int, records: list[Observation]) -> bool:
        from_initiator = picked.slots[index] & FROM_INITIATOR != 0
        messages, over = self.streams.feed(
            number,
            from_initiator,
            picked.tcp_seq(index),
            picked.starts[index],
            picked.dport[index] if from_initiator else picked.sport[index],
            picked.payload(index),
        )
        if messages:
            src, dst = picked.ends(index, self._ends)
            if not from_initiator:
                src, dst = dst, src
            meaning = self._observe(picked.times[index], picked.parent(index), src, dst, messages, records)
            self._describe(number, meaning)
        return over

    def _step(self, picked: Picked, index: int, messages: Messages, records: list[Observation]) -> None:
        """Say what a segment completed."""
        src, dst = picked.ends(index, self._ends)
        if not picked.slots[index] & FROM_INITIATOR:
            src, dst = dst, src
        meaning = self._observe(picked.times[index], picked.parent(index), src, dst, messages, records)
        self._describe(picked.numbers[index], meaning)

    def _datagram(self, picked: Picked, index: int, records: list[Observation]) -> None:
        messages = self._datagrams.datagram(17, picked.sport[index], picked.dport[index], picked.payload(index))
        if messages:
            src, dst = picked.ends(index, self._ends)
            meaning = self._observe(picked.times[index], picked.parent(index), src, dst, messages, records)
            self._describe(picked.numbers[index], meaning)

    def _neighbour(self, picked: Picked, index: int, kind: int, records: list[Observation]) -> None:
        time, parent = picked.times[index], picked.parent(index)
        src, dst = picked.ends(index, self._ends)
        if kind == kernels.W_SENDER:
            records.append(
                self._make.envelope(time, parent, Endpoint(mac=src.mac), None, IdentityData(protocol="frame"))
            )
            return
        payload = picked.payload(index)
        if kind == kernels.W_FRAME:
            self._observe(time, parent, src, dst, self._datagrams.frame(picked.ethertype(index), payload), records)
            return
        found = read_arp(payload) if kind == kernels.W_ARP else read_ndp(payload, src.ip)
        if found is None:
            return
        announced = Endpoint(mac=self._make.addresses.mac(found[0]), ip=found[1])
        attributes = (("arp.ip", found[1]),) if kind == kernels.W_ARP else ()
        data = IdentityData(protocol="arp" if kind == kernels.W_ARP else "ndp", attributes=attributes)
        # A request says whom it looks for: many of them are a scan.
        is_request = kind == kernels.W_ARP and payload[6:8] == _ARP_REQUEST
        asked = dst if is_request and dst.ip != found[1] else None
        key = (announced.mac, data, found[1], asked.ip if asked else "")
        is_news = self.is_news(key, time, self._limits.neighbours_s)
        if self._changes_hands(found[1], announced.mac) or is_news:
            records.append(self._make.envelope(time, parent, announced, asked, data))

    def _changes_hands(self, ip: str, mac: str) -> bool:
        """Note who claims an address; true if somebody else claimed it last: that is news however often it was said."""
        before = self._holders.get(ip)
        if before is None and len(self._holders) >= _MAX_SAID:
            self._holders.popitem(last=False)
        self._holders[ip] = mac
        return before is not None and before != mac

    def _observe(
        self,
        time: float,
        parent: str,
        src: Endpoint,
        dst: Endpoint,
        messages: Messages,
        records: list[Observation],
    ) -> Meaning:
        """Append what messages mean, as far as it was not said just now."""
        meaning = self._meanings.of(messages, src, dst)
        for reason in meaning.malformed:
            self.count(reason)
        for body in meaning.bodies:
            sender = src if body.src is SENDER else dst if body.src is RECEIVER else body.src
            receiver = src if body.dst is SENDER else dst if body.dst is RECEIVER else body.dst
            if body.number:
                who = (sender.mac, sender.ip) if sender is not None else None
                whom = receiver.ip if body.is_to and receiver is not None else ""
                if not self.is_news((body.number, who, whom), time, body.repeat_s):
                    continue
            records.append(self._make.envelope(time, parent, sender, receiver, body.data))
        return meaning

    def _describe(self, flow: int, meaning: Meaning) -> None:
        """Remember a flow's application, and the server's name if it was asked for."""
        app, name = meaning.app, meaning.name
        if not app and not name:
            return
        known = self.described.get(flow)
        if known is None:
            if len(self.described) >= _MAX_DESCRIBED:
                self.described.popitem(last=False)
            self.described[flow] = (app, name)
        elif (name and name != known[1]) or not known[0]:
            self.described[flow] = (known[0] or app, name or known[1])


def _choose(dport: int, first: bytes, from_initiator: bool, mid_stream: bool) -> StreamDecoder | None:
    return stream_decoder(6, 0, dport, first, from_initiator, mid_stream)
