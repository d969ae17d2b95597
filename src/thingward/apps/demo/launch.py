"""Start the demo: where it can run, what is started in which order, and the end of all of it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Final

import msgspec

from thingward.adapters.link.unix import UnixLinkClient
from thingward.apps.demo.narrate import Narrator, news_line
from thingward.model.action import ActionKind, ResponseRule
from thingward.model.codec import decode_batch
from thingward.model.errors import ThingwardError, Unavailable
from thingward.model.ids import DEFAULT_TENANT, Uid, hashed_uid
from thingward.model.intent import Intent, IntentBody, PutRule
from thingward.model.principal import Role
from thingward.runtime import channels
from thingward.runtime.config import Settings, load_settings
from thingward.runtime.netns import dies_with_parent, move_into_new_namespaces, namespaces_work
from thingward.runtime.simulated import NEWS, SimulatorRequest, ask_simulator, simulator_socket

SITE: Final = "Sample site (simulated)"
NETWORK: Final = "192.168.77.0/24"
BRIDGE: Final = "br-site"
RULE: Final = Uid("r-demo")
START_S: Final = 60.0
ATTACK_AFTER_S: Final = 20.0
REPLAY_DAYS: Final = 0.1
SUPERVISOR: Final = "thingward.apps.supervisor"

Say = Callable[[str], None]


class DemoPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, and what this machine allows.

    Attributes:
        replay: why there are no live devices, empty if there are.
        skip_past: skip the recorded days (for tests and benchmarks).
    """

    seed: int = 1
    attack: bool = False
    replay: str = ""
    skip_past: bool = False
    background: float = 0.0


def what_forbids_it() -> str:
    """Give the reason why live simulated devices cannot be here, empty if they can."""
    if not _program("ip"):
        return "the program `ip` is missing (apt install iproute2)"
    if not namespaces_work():
        return "this machine forbids network namespaces to this user"
    return ""


def bind_console(host: str, port: int) -> socket.socket:
    """Bind the console's socket, before this process leaves the machine's network.

    Raises:
        Unavailable: the port is taken.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise Unavailable(f"port {port} is taken.", hint="Choose another one with --port, or 0 for any.") from error
    return sock


def enter_site() -> str:
    """Leave the machine's network for one of our own; gives `root` or `user`."""
    how = move_into_new_namespaces()
    # /sys tells of the network in which it was mounted: mount one that tells of ours.
    ctypes.CDLL(None).mount(b"sysfs", b"/sys", b"sysfs", ctypes.c_ulong(0), None)
    subprocess.run([_program("ip"), "link", "set", "lo", "up"], check=False)
    return how


def write_settings(folder: Path, plan: DemoPlan, *, port: int) -> Settings:
    """Write the settings of the demo's platform into its data folder."""
    live = not plan.replay
    enforce = "both" if live and _program("nft") else "off"
    lines = [
        "[site]", f'name = "{SITE}"', f'networks = ["{NETWORK}"]', "simulated = true",
        "[server]", 'host = "127.0.0.1"', f"port = {port}",
        "[enforce]", f'path = "{enforce}"',
    ]  # fmt: skip
    if live:
        lines += ["[sensor]", f'interfaces = ["{BRIDGE}"]']
    path = folder / "thingward.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_settings(path, overrides={"data_dir": str(folder)})


class Demo:
    """The running demo."""

    def __init__(self, plan: DemoPlan, settings: Settings, console: socket.socket, say: Say) -> None:
        self.plan = plan
        self.settings = settings
        self._console = console
        self._say = say
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._narrator = Narrator()
        self._core = UnixLinkClient(channels.socket_of(settings, "core"), name="demo", retry_s=(0.05, 0.25))
        self._simulator = UnixLinkClient(simulator_socket(settings), name="demo", retry_s=(0.05, 0.25))

    async def run(self, stop: asyncio.Event) -> int:
        """Run until told to stop or until a part ends; gives the exit code."""
        try:
            await self._start()
            ended = [asyncio.create_task(child.wait()) for child in self._lasting()]
            waiting = asyncio.create_task(stop.wait())
            await asyncio.wait([waiting, *ended], return_when=asyncio.FIRST_COMPLETED)
            broken = not stop.is_set()
            for task in (waiting, *ended):
                task.cancel()
            if broken:
                self._say("A part of the demo ended by itself; see its logs above.")
            return 1 if broken else 0
        finally:
            await self._close()

    async def _start(self) -> None:
        folder = self.settings.home
        (folder / "run").mkdir(mode=0o700, exist_ok=True)
        past = None if self.plan.skip_past else await self._record(folder / "past.pcap")
        if not self.plan.replay:
            await self._start_site()
        self._children["supervisor"] = await self._spawn(
            SUPERVISOR, "--config", str(folder / "thingward.toml"), "--data-dir", str(folder),
            "--listen-fd", str(self._console.fileno()), stdout=subprocess.PIPE,
        )  # fmt: skip
        greeted = asyncio.Event()
        self._go(self._echo(self._children["supervisor"], greeted))
        self._core.subscribe(channels.LIVE, self._narrate)
        self._core.subscribe(channels.DEMO, self._button)
        await self._wait_for_core()
        await self._allow_response()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(greeted.wait(), START_S)
        self._explain()
        if past is not None:
            self._say("The site's last five days are read in first, so that there is a past to learn from ...")
            await self._finish(past)
            await self._finish(await self._feed(folder / "past.pcap"))
            (folder / "past.pcap").unlink(missing_ok=True)
        if self.plan.replay:
            self._go(self._replay())
        else:
            self._simulator.subscribe(NEWS, self._hear)
            await ask_simulator(self._simulator, SimulatorRequest(step="begin"))
        if self.plan.attack:
            self._go(self._attack_later())

    async def _echo(self, child: asyncio.subprocess.Process, greeted: asyncio.Event) -> None:
        """Pass on what the supervisor says; the console's address and the login link come first."""
        assert child.stdout is not None
        async for line in child.stdout:
            text = line.decode("utf-8", "replace").rstrip()
            self._say(text)
            if "login" in text.lower():
                greeted.set()

    def _explain(self) -> None:
        say = self._say
        if self.plan.replay:
            say(f"{SITE}: a recorded simulated site is replayed, because {self.plan.replay}.")
            say("Nothing can be shut out here: what would have been done is shown.")
        else:
            say(f"{SITE}: every device, name and address is simulated; packets, rules and the platform are real.")
            if self.settings.enforce.path == "off":
                say("nftables is not installed: nothing can be shut out (apt install nftables).")
        say("One response rule is switched on for this demo: scans, guessed passwords and floods shut a device out.")
        say(
            "Press the button on the console's first page to let a device turn bad. Ctrl-C ends and removes everything."
        )

    async def _start_site(self) -> None:
        site = await self._spawn(
            "thingward.apps.simulator", "--seed", str(self.plan.seed), "--hold",
            "--socket", str(simulator_socket(self.settings)),
            "--snippet", str(self.settings.home / "dnsmasq-thingward.conf"),
            "--background", str(self.plan.background),
            stdout=subprocess.PIPE,
        )  # fmt: skip
        self._children["simulator"] = site
        assert site.stdout is not None
        line = await asyncio.wait_for(site.stdout.readline(), START_S)
        if line.strip() != b"ready":
            raise Unavailable("the simulated site did not start.", hint="What it said stands above.")

    async def _wait_for_core(self) -> None:
        await self._core.start()
        supervisor = self._children["supervisor"]
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and supervisor.returncode is None:
            with contextlib.suppress(ThingwardError):
                await self._core.call(channels.PING, b"", timeout_s=1.0)
                return
        raise Unavailable("the platform did not start.", hint="What it said stands above.")

    async def _allow_response(self) -> None:
        rule = ResponseRule(
            uid=RULE,
            tenant=DEFAULT_TENANT,
            time=time.time(),
            source="demo",
            name="Demo: shut out what attacks",
            rules=("scan.*", "login.*", "flood.*"),
            min_severity=4,
            min_confidence=0.7,
            action=ActionKind.QUARANTINE,
            ttl_s=900.0,
            enabled=True,
        )
        await self._intend(PutRule(rule=rule))

    async def _intend(self, body: IntentBody) -> None:
        now = time.time()
        intent = Intent(
            uid=hashed_uid("demo", str(now)),
            tenant=DEFAULT_TENANT,
            principal="demo",
            role=Role.ADMIN,
            time=now,
            address="",
            body=body,
        )
        answer = channels.decode_answer(await self._core.call(channels.INTENT, channels.encode_intent(intent)))
        if not answer.ok:
            raise Unavailable(f"the platform refused the demo's rule: {answer.message}")

    async def _record(self, path: Path, *extra: str) -> asyncio.subprocess.Process:
        seed = str(self.plan.seed)
        return await self._spawn(
            "thingward.apps.simulator", "--seed", seed, "--record", str(path), *extra, stdout=subprocess.DEVNULL
        )

    async def _feed(self, path: Path, *extra: str) -> asyncio.subprocess.Process:
        core = str(channels.socket_of(self.settings, "core"))
        return await self._spawn(
            "thingward.apps.demo.feed", str(path), "--core", core, "--site", SITE, *extra, stdout=subprocess.DEVNULL
        )

    async def _finish(self, child: asyncio.subprocess.Process) -> None:
        if await child.wait() != 0:
            raise Unavailable("the recorded days could not be read in.", hint="What was wrong stands above.")

    async def _replay(self) -> None:
        """Let the recorded site go on in real time."""
        number = 0
        while True:
            number += 1
            path = self.settings.home / f"now-{number}.pcap"
            until = time.time() + REPLAY_DAYS * 86400
            await self._finish(await self._record(path, "--days", str(REPLAY_DAYS), "--until", str(until)))
            await self._finish(await self._feed(path, "--pace"))
            path.unlink(missing_ok=True)

    async def _button(self, body: bytes) -> None:
        if self.plan.replay:
            self._go(self._replay_attack())
        else:
            device = msgspec.msgpack.decode(body, type=str)
            await ask_simulator(self._simulator, SimulatorRequest(step="attack", device=device))

    async def _replay_attack(self) -> None:
        path = self.settings.home / "attack.pcap"
        self._say(news_line(time.time(), "a recorded attack is replayed"))
        seed = ("--seed", str(self.plan.seed))
        made = await self._spawn(
            "thingward.apps.simulator", *seed, "--record-attack", str(path), stdout=subprocess.DEVNULL
        )
        await self._finish(made)
        await self._finish(await self._feed(path, "--pace"))

    async def _attack_later(self) -> None:
        await asyncio.sleep(ATTACK_AFTER_S)
        await self._button(msgspec.msgpack.encode(""))

    async def _hear(self, body: bytes) -> None:
        at, text = msgspec.msgpack.decode(body, type=tuple[float, str])
        self._say(news_line(at, text))

    async def _narrate(self, body: bytes) -> None:
        for line in self._narrator.lines(decode_batch(body)):
            self._say(line)

    def _go(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except ThingwardError as error:
            self._say(f"demo: {error}")

    def _lasting(self) -> list[asyncio.subprocess.Process]:
        return list(self._children.values())

    async def _spawn(self, module: str, *arguments: str, stdout: int | None = None) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", module, *arguments,
            stdin=subprocess.DEVNULL, stdout=stdout, pass_fds=(self._console.fileno(),),
            preexec_fn=dies_with_parent(), env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._core.close()
        await self._simulator.close()
        for name in ("supervisor", "simulator"):
            child = self._children.get(name)
            if child is None or child.returncode is not None:
                continue
            child.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(child.wait(), 20.0)
            except TimeoutError:
                child.kill()
                await child.wait()


def _program(name: str) -> str:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin") or ""


def remove_folder(folder: Path) -> None:
    """Remove the demo's data."""
    shutil.rmtree(folder, ignore_errors=True)


def stop_on_signals(stop: asyncio.Event, numbers: Sequence[int] = (signal.SIGTERM, signal.SIGINT)) -> None:
    """Set the event when a person or the system asks us to end."""
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
