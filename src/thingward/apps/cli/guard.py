"""`thingward guard`: the main job on captures, Zeek logs and interfaces."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from thingward.model.errors import InvalidInput
from thingward.model.ids import DEFAULT_SITE
from thingward.runtime.guard_result import GuardResult

Format = Literal["table", "json", "ndjson"]
#: What the command line turns a lone dash into.
STDIN = "/dev/stdin"
_NET = Path("/sys/class/net")


def guard(
    *sources: Annotated[
        str, Parameter(help="Captures (pcap, pcapng, .gz, - for standard input), Zeek folders, one interface.")
    ],
    output: Annotated[Format, Parameter(name=["--output", "-o"], help="How to print the result.")] = "table",
    html: Annotated[Path | None, Parameter(help="Also write a self-contained HTML report here.")] = None,
    site: Annotated[
        str,
        Parameter(help="Name of the site that the traffic belongs to; default home, with --save the platform's own."),
    ] = "",
    network: Annotated[
        list[str] | None, Parameter(help="Address range of the site (CIDR); may be given again.")
    ] = None,
    learn_share: Annotated[float, Parameter(help="Share of the time that is learnt from; the rest is judged.")] = 0.5,
    pack: Annotated[
        list[Path] | None, Parameter(help="List of known-bad addresses and names to look for; may be given again.")
    ] = None,
    save: Annotated[bool, Parameter(help="Hand what was learnt to the running platform.")] = False,
    every: Annotated[
        bool, Parameter(name="--all", help="Print every flow that would have been refused, not ten of each device.")
    ] = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], help="No progress bars.")] = False,
) -> int:
    """See what is connected, weigh what looks wrong, learn what each device needs, preview what would be refused.

    On captures and logs it ends there with a report and changes nothing. On an interface it starts the platform with
    that sensor, in the foreground. Exit code 0; 2 if an argument is no capture, after the rest was read.
    """
    if not sources:
        raise InvalidInput(
            "name at least one capture, folder of Zeek logs, or interface.", hint="See thingward guard --help."
        )
    named = ["-" if source == STDIN else source for source in sources]
    live = [source for source in named if _is_interface(source)]
    if live:
        return _guard_interfaces(live, len(sources))
    if not 0.05 <= learn_share <= 0.95:
        raise InvalidInput("--learn-share lies between 0.05 and 0.95.")
    for cidr in network or ():
        _verify_network(cidr)
    if "-" in named and sys.stdin is None:
        raise InvalidInput("standard input is closed.", hint="Give a capture's name, or pipe one in.")
    from thingward.runtime.guard import GuardOptions, run_guard

    if save and not site:
        from thingward.apps.cli.save import platform_site

        site = platform_site()
    site = site or DEFAULT_SITE
    options = GuardOptions(site=site, networks=tuple(network or ()), learn_share=learn_share, packs=tuple(pack or ()))
    with _progress(enabled=not quiet and sys.stderr.isatty()) as advance:
        result = run_guard(named, options, advance)
    _write(result, output, html, every_flow=every)
    if save:
        from thingward.apps.cli.save import save_result

        save_result(result)
    for report in result.sources:
        if not report.is_capture:
            sys.stderr.write(f"thingward: {report.source}: {report.data.error}\n")
    return result.exit_code


def _guard_interfaces(names: list[str], given: int) -> int:
    from thingward.apps.cli.platform import up

    if len(names) != given:
        raise InvalidInput("interfaces and captures cannot be guarded in one run.", hint="Run the command twice.")
    up(interface=names)
    return 0


def _verify_network(cidr: str) -> None:
    try:
        ip_network(cidr, strict=False)
    except ValueError as error:
        raise InvalidInput(
            f"--network {cidr!r} is no address range.", hint="Give it in CIDR form, for example 192.0.2.0/24."
        ) from error


def _is_interface(source: str) -> bool:
    return (
        not os.path.exists(source) and "/" not in source and source not in ("-", ".", "..") and (_NET / source).exists()
    )


def _write(result: GuardResult, output: Format, html: Path | None, *, every_flow: bool) -> None:
    if html is not None:
        from thingward.apps.cli.html import render_html

        try:
            html.write_text(render_html(result), encoding="utf-8")
        except OSError as error:
            raise InvalidInput(
                f"cannot write {html}: {error.strerror}.", hint="Choose another file for --html."
            ) from error
    if output == "table":
        from rich.console import Console

        from thingward.apps.cli.terminal import print_result

        print_result(Console(width=None if sys.stdout.isatty() else 120), result, every_flow=every_flow)
        return
    import msgspec

    from thingward.apps.cli.lines import result_lines

    lines = result_lines(result)
    if output == "ndjson":
        for line in lines:
            sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    else:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(list(lines)), indent=1) + b"\n")
    sys.stdout.buffer.flush()


class _Advance:
    """Moves the progress bars: `advance(label, done, total)`, total 0 where it is unknown."""

    def __init__(self, bars: object | None) -> None:
        self._bars = bars
        self._tasks: dict[str, object] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        from rich.progress import Progress, TaskID

        if not isinstance(self._bars, Progress):
            return
        task = self._tasks.get(label)
        if task is None:
            task = self._tasks[label] = self._bars.add_task(label, total=total or None)
        self._bars.update(TaskID(int(str(task))), completed=done, total=total or None)


@contextmanager
def _progress(*, enabled: bool) -> Iterator[_Advance]:
    if not enabled:
        yield _Advance(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Advance(bars)
