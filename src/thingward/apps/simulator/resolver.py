"""The sample site's router services: DNS and DHCP by dnsmasq where it is installed, else by a small stand-in.

Both read the file in which the warden says which names fill which sets, so that names are enforced either way.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Final

from thingward.adapters.enforcer.nft_run import NftRunner, best_runner
from thingward.apps.simulator import messages
from thingward.apps.simulator.site import BRIDGE, CLOUD, LEASE_S, ROUTER, SampleSite
from thingward.model.errors import ThingwardError, UnsupportedHere
from thingward.runtime.netns import dies_with_parent

WATCH_S: Final = 0.2


class Dnsmasq:
    """The real one, restarted whenever the snippet changes."""

    name = "dnsmasq"

    def __init__(self, site: SampleSite, folder: Path, snippet: Path, program: str) -> None:
        self._site = site
        self._folder = folder
        self._snippet = snippet
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and watch the snippet."""
        self._begin()
        self._task = asyncio.create_task(self._watch(), name="dnsmasq")

    async def close(self) -> None:
        """Stop it."""
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
        finally:
            self._end()

    def _begin(self) -> None:
        hosts = [f"dhcp-host={item.mac},{item.address},{item.hostname},{LEASE_S}" for item in self._site.devices]
        lines = [
            f"interface={BRIDGE}", "bind-interfaces", "except-interface=lo", "no-resolv", "no-hosts",
            f"server={CLOUD}", "quiet-dhcp", "dhcp-authoritative",
            f"dhcp-leasefile={self._folder / 'leases'}",
            f"dhcp-range=192.168.77.20,192.168.77.99,{LEASE_S}", *hosts, f"conf-file={self._snippet}",
        ]  # fmt: skip
        if not self._snippet.exists():
            self._snippet.touch()
        config = self._folder / "dnsmasq.conf"
        config.write_text("\n".join(lines) + "\n", encoding="ascii")
        self._process = subprocess.Popen(
            [self._program, "--no-daemon", f"--conf-file={config}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=dies_with_parent(),
        )

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
            self._process.kill()
            self._process.wait()

    async def _watch(self) -> None:
        seen = _stamp(self._snippet)
        while True:
            await asyncio.sleep(WATCH_S)
            now = _stamp(self._snippet)
            if now != seen or (self._process and self._process.poll() is not None):
                seen = now
                self._end()
                self._begin()


class StandIn:
    """DNS forwarder and DHCP server of our own, for machines without dnsmasq; it fills the sets before it answers."""

    name = "a stand-in for dnsmasq"

    def __init__(self, site: SampleSite, snippet: Path) -> None:
        self._site = site
        self._snippet = snippet
        self._sockets: list[socket.socket] = []
        self._bindings: dict[str, tuple[str, ...]] = {}
        self._seen = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: NftRunner | None = None

    async def start(self) -> None:
        """Listen."""
        with contextlib.suppress(ThingwardError):
            self._runner = best_runner()
        loop = asyncio.get_running_loop()
        for port, read in ((53, self._resolve), (67, self._lease)):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, BRIDGE.encode())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.bind((ROUTER if port == 53 else "0.0.0.0", port))
            self._sockets.append(sock)
            loop.add_reader(sock, read, sock)

    async def close(self) -> None:
        """Stop."""
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock)
        forwarding = list(self._tasks)
        for task in forwarding:
            task.cancel()
        await asyncio.gather(*forwarding, return_exceptions=True)
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def _resolve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data, sender = sock.recvfrom(2048)
            task = asyncio.create_task(self._forward(sock, data, sender))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, sock: socket.socket, data: bytes, sender: tuple[str, int]) -> None:
        question = messages.dns_question(data)
        upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        upstream.setblocking(False)
        try:
            upstream.connect((CLOUD, 53))
            upstream.send(data)
            async with asyncio.timeout(2.0):
                answer = await asyncio.get_running_loop().sock_recv(upstream, 2048)
            if question is not None:
                self._open(question[1], messages.dns_addresses(answer))
            sock.sendto(answer, sender)
        except (OSError, TimeoutError, ThingwardError):
            pass
        finally:
            upstream.close()

    def _open(self, name: str, addresses: list[str]) -> None:
        stamp = _stamp(self._snippet)
        if stamp != self._seen:
            self._seen, self._bindings = stamp, read_bindings(self._snippet)
        labels = name.split(".")
        for depth in range(len(labels)):
            sets = self._bindings.get(".".join(labels[depth:]))
            if sets and addresses and self._runner:
                elements = ", ".join(addresses)
                self._runner.run("".join(f"add element {place} {{ {elements} }}\n" for place in sets))
                return

    def _lease(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data, _ = sock.recvfrom(2048)
            device = self._site.device(data[28:34].hex(":"))
            kind = messages.dhcp_kind(data)
            answer = {1: messages.DHCP_OFFER, 3: messages.DHCP_ACK}.get(kind)
            if device is not None and answer is not None:
                number = int.from_bytes(data[4:8], "big")
                sock.sendto(messages.dhcp_reply(device, answer, number, ROUTER), ("255.255.255.255", 68))


def router_services(site: SampleSite, folder: Path, snippet: Path, *, stand_in: bool = False) -> Dnsmasq | StandIn:
    """Give dnsmasq where it is installed, else (or if wanted) the stand-in; raises UnsupportedHere without `ip`."""
    if shutil.which("ip") is None and shutil.which("ip", path="/usr/sbin:/sbin") is None:
        raise UnsupportedHere("the program `ip` is missing.", hint="On Debian: apt install iproute2.")
    program = shutil.which("dnsmasq") or shutil.which("dnsmasq", path="/usr/sbin:/sbin")
    return Dnsmasq(site, folder, snippet, program) if program and not stand_in else StandIn(site, snippet)


def read_bindings(snippet: Path) -> dict[str, tuple[str, ...]]:
    """Read the snippet's lines: domain to `<family> <table> <set>` for IPv4."""
    found: dict[str, tuple[str, ...]] = {}
    try:
        lines = snippet.read_text(encoding="ascii").splitlines()
    except OSError:
        return found
    for line in lines:
        if line.startswith("nftset=/"):
            _, domain, sets = line.split("/", 2)
            parts = [item.split("#") for item in sets.split(",") if item.startswith("4#")]
            found[domain] = tuple(" ".join(part[1:]) for part in parts)
    return found


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
