"""Linux AF_PACKET with a TPACKET_V3 ring: the kernel writes packets into memory that this process reads.

Source: linux/if_packet.h; Documentation/networking/packet_mmap.rst.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import select
import socket
import struct

import msgspec
import numpy as np

from thingward.model.columns import PacketBatch
from thingward.model.errors import InvalidInput, Unavailable, UnsupportedHere
from thingward.ports.packet_source import BlockWalker, SourceLosses

_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_RX_RING = 5
_PACKET_STATISTICS = 6
_PACKET_VERSION = 10
_TPACKET_V3 = 2
_MR_PROMISC = 1
_ETH_P_ALL = 3
_STATUS_USER = 1
_STATUS_AT = 8
_FRAME_BYTES = 2048

# Kinds of interfaces (linux/if_arp.h) and the LINKTYPE of what a raw socket gives for them.
_LINKS = {1: 1, 772: 1, 65534: 101, 768: 101, 776: 101, 512: 101, 801: 105, 803: 127}


class RingLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Size and pace of the ring.

    Attributes:
        block_bytes: a power of two, at least a page: the kernel hands over whole blocks.
        blocks: block_bytes times blocks is the memory that waits for this process.
        retire_ms: a block that holds anything is handed over after this time, full or not.
    """

    block_bytes: int = 1 << 20
    blocks: int = 32
    retire_ms: int = 50


class AfPacketSource:
    """Reads one interface. Needs CAP_NET_RAW in the network namespace that the interface is in."""

    def __init__(
        self,
        interface: str,
        *,
        walk: BlockWalker,
        uid: str = "",
        promiscuous: bool = True,
        limits: RingLimits | None = None,
    ) -> None:
        """Prepare; nothing is opened before `open`.

        Args:
            interface: name, for example `eth0`.
            walk: the kernel that finds frames in a block.
            uid: names the stream of packets in batches.
            promiscuous: also take frames addressed to others.
        """
        self._interface = interface
        self._walk = walk
        self._uid = uid
        self._promiscuous = promiscuous
        self._limits = limits or RingLimits()
        self._socket: socket.socket | None = None
        self._ring: mmap.mmap | None = None
        self._was_open = False
        self._block = 0
        self._base = 0
        self._link = 1

    def open(self) -> AfPacketSource:
        """Open the interface and start to receive.

        Raises:
            UnsupportedHere: the right to capture is missing, or the kind of interface is not known.
            InvalidInput: there is no such interface, and there was none when this source was opened before.
            Unavailable: the interface is down or gone, or the ring could not be had.
        """
        self.close()
        try:
            number = socket.if_nametoindex(self._interface)
        except OSError as error:
            if self._was_open:
                raise Unavailable(f"{self._interface} is gone.") from error
            raise InvalidInput(f"there is no interface {self._interface}.", hint="See `ip link`.") from error
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except PermissionError as error:
            raise UnsupportedHere(
                "live capture needs the right CAP_NET_RAW.", hint="Run as root, or guard a capture file instead."
            ) from error
        try:
            self._start(self._socket, number)
        except OSError as error:
            self.close()
            raise Unavailable(f"cannot capture on {self._interface}: {error.strerror}.") from error
        except BaseException:
            self.close()
            raise
        self._was_open = True
        return self

    def fileno(self) -> int:
        """Give the socket's descriptor."""
        return self._socket.fileno() if self._socket is not None else -1

    def read(self, timeout_s: float) -> PacketBatch | None:
        """Give the packets of the next block that the kernel has handed over."""
        if self._ring is None or self._socket is None:
            raise Unavailable(f"{self._interface} is not open.")
        if not self._is_ready():
            self._wait(self._socket, timeout_s)
            if not self._is_ready():
                return None
        return self._take()

    def losses(self) -> SourceLosses:
        """Read the kernel's counters, which it sets back by that."""
        if self._socket is None:
            return SourceLosses()
        packets, drops, _ = struct.unpack("III", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12))
        return SourceLosses(packets=packets, dropped=drops)

    def close(self) -> None:
        """Give the ring and the socket back."""
        if self._ring is not None:
            with contextlib.suppress(BufferError):
                self._ring.close()
            self._ring = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _start(self, sock: socket.socket, number: int) -> None:
        limits = self._limits
        sock.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
        size = limits.block_bytes * limits.blocks
        request = struct.pack(
            "IIIIIII",
            limits.block_bytes,
            limits.blocks,
            _FRAME_BYTES,
            size // _FRAME_BYTES,
            limits.retire_ms,
            0,
            0,
        )
        sock.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
        self._block = 0
        self._ring = mmap.mmap(sock.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        sock.bind((self._interface, _ETH_P_ALL))
        # The kernel lets a socket be bound to an interface that is down, and says so on the side.
        if trouble := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(trouble, os.strerror(trouble))
        kind = sock.getsockname()[3]
        if kind not in _LINKS:
            raise UnsupportedHere(f"{self._interface} is of a kind ({kind}) that cannot be captured yet.")
        self._link = _LINKS[kind]
        if self._promiscuous:
            member = struct.pack("IHH8s", number, _MR_PROMISC, 0, b"")
            sock.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, member)

    def _is_ready(self) -> bool:
        assert self._ring is not None
        at = self._block * self._limits.block_bytes + _STATUS_AT
        return bool(struct.unpack_from("I", self._ring, at)[0] & _STATUS_USER)

    def _wait(self, sock: socket.socket, timeout_s: float) -> None:
        poller = select.poll()
        poller.register(sock.fileno(), select.POLLIN | select.POLLERR)
        for _, event in poller.poll(max(0.0, timeout_s) * 1000):
            if event & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ENETDOWN
                raise Unavailable(f"{self._interface}: {os.strerror(number)}.")

    def _take(self) -> PacketBatch:
        """Copy a block out and give it back to the kernel at once."""
        assert self._ring is not None
        start = self._block * self._limits.block_bytes
        count, first, used = struct.unpack_from("III", self._ring, start + _STATUS_AT + 4)
        data = np.frombuffer(self._ring[start : start + min(used, self._limits.block_bytes)], np.uint8)
        struct.pack_into("I", self._ring, start + _STATUS_AT, 0)
        self._block = (self._block + 1) % self._limits.blocks
        count = min(count, len(data) // 48 + 1)
        offset, ts_ns = np.empty(count, np.int64), np.empty(count, np.int64)
        caplen, wirelen, vlan = (np.empty(count, np.int32) for _ in range(3))
        found, _, _ = self._walk(data, first, count, offset, caplen, wirelen, ts_ns, vlan)
        base, self._base = self._base, self._base + len(data)
        return PacketBatch(
            data=data,
            offset=offset[:found],
            caplen=caplen[:found],
            wirelen=wirelen[:found],
            ts_ns=ts_ns[:found],
            link=np.full(found, self._link, np.int32),
            vlan=vlan[:found],
            uid=self._uid,
            base=base,
        )
