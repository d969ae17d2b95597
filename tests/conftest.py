"""Fixtures and rules for every test.

Markers say what a test needs; where that is missing the test is skipped with one line. With CI=true nothing may be
missing: there such a skip is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI") == "true"
# A skip that begins with this is no lack of a tool: the case does not exist here.
NOT_APPLICABLE = "not applicable:"
# What the packet filter held of ours when the tests began.
TABLES = pytest.StashKey[frozenset[str]]()
# Tests with these markers share the machine (addresses, namespaces, ports): one worker runs them.
ALONE = ("root", "netns", "browser", "servers")

# CI draws the same examples each time: what it finds is then due to the change. `thorough` looks for the rest.
settings.register_profile(
    "default", deadline=None, max_examples=60, derandomize=IN_CI, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=1000, derandomize=False)
settings.load_profile(os.environ.get("THINGWARD_HYPOTHESIS", "default"))


def shared_data() -> Path:
    """The folder with other people's captures, logs and lists: never part of this repository."""
    return Path(os.environ.get("THINGWARD_TEST_DATA", ROOT / ".." / "shared" / "data")).resolve()


@cache
def missing_for(marker: str) -> str | None:
    """What this machine lacks for the marker; None if nothing."""
    if marker == "data":
        return None if shared_data().is_dir() else f"no test data at {shared_data()} (THINGWARD_TEST_DATA)"
    if marker == "browser":
        return None if chromium() else "no chromium on the PATH"
    if marker == "root":
        if os.geteuid() != 0:
            return "needs root"
        made = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
        return None if made.returncode == 0 else "network namespaces are forbidden here"
    if marker == "netns":
        return None if namespace_command() else "network namespaces are forbidden here"
    return None


@cache
def namespace_command() -> tuple[str, ...]:
    """What runs a program in a network namespace of its own, as root or not; empty if nothing does."""
    for command in (("unshare", "--net"), ("unshare", "--user", "--map-root-user", "--net")):
        try:
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
        except OSError:
            return ()
    return ()


def chromium() -> str | None:
    """The browser for the tests."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where browser tests put their pictures."""
    parser.addoption("--screenshots", default=None, help="folder for the browser tests' screenshots")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Note what `pytest_sessionfinish` compares; xdist's workers leave that to the process that started them."""
    if not hasattr(session.config, "workerinput"):
        session.config.stash[TABLES] = our_tables()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run."""
    for item in items:
        for marker in ("root", "netns", "browser", "data"):
            reason = missing_for(marker) if item.get_closest_marker(marker) else None
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@cache
def shares_the_machine(path: Path) -> bool:
    """Tell whether a test file needs addresses, namespaces or ports that another such file may want too."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return any(f"mark.{marker}" in text for marker in ALONE)


class FileScheduling(LoadScopeScheduling):
    """A file's tests run on one worker, and all files that share the machine on the same one."""

    def _split_scope(self, nodeid: str) -> str:
        name = nodeid.partition("::")[0]
        return "machine" if shares_the_machine(self.config.rootpath / name) else name


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileScheduling | None:
    """Stand in for `--dist loadfile`."""
    return FileScheduling(config, log) if config.getoption("dist") == "loadfile" else None


def skip_reason(longrepr: object) -> str:
    """The text of a skip as pytest reports it."""
    return str(longrepr[2]).removeprefix("Skipped: ") if isinstance(longrepr, tuple) else str(longrepr)


def forbid_skip(report: pytest.TestReport | pytest.CollectReport, in_ci: bool) -> None:
    """Turn a skip for lack of something into a failure where nothing may be lacking."""
    if not in_ci or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = skip_reason(report.longrepr)
    if not reason.startswith(NOT_APPLICABLE):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI=true forbids: {reason}"


def our_tables() -> frozenset[str]:
    """Tables of ours in the packet filter of the network that the tests run in; none where that cannot be asked."""
    nft = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if nft is None or os.geteuid() != 0:
        return frozenset()
    told = subprocess.run([nft, "list", "tables"], capture_output=True, text=True, check=False).stdout
    return frozenset(line for line in told.splitlines() if "thingward" in line)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Tests leave this machine's own packet filter as it was: whatever starts a warden does it in a network of its own."""
    yield
    before = session.config.stash.get(TABLES, None)
    if before is None or (after := our_tables()) == before:
        return
    changed = ", ".join([f"new: {line}" for line in after - before] + [f"gone: {line}" for line in before - after])
    session.exitstatus = pytest.ExitCode.TESTS_FAILED
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    terminal.write_line(f"The tests changed this machine's packet filter. {changed}", red=True)
    terminal.write_line("(Unless a platform was started or stopped beside them: then run them again.)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """With CI=true a skipped test has failed."""
    report = yield
    forbid_skip(report, IN_CI)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """With CI=true a skipped module has failed."""
    report = yield
    forbid_skip(report, IN_CI)
    return report


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The shared test data; the test is skipped where it is missing. Mark such tests `data`."""
    path = shared_data()
    if not path.is_dir():
        pytest.skip(f"no test data at {path} (THINGWARD_TEST_DATA)")
    return path


@pytest.fixture(scope="session")
def in_namespace() -> tuple[str, ...]:
    """Put this before a command, and it runs in a network namespace of its own. Mark such tests `netns`."""
    return namespace_command()


@pytest.fixture(scope="session")
def need_program():
    """Ask for a foreign program: `need_program("tshark")` is its path, or the test is skipped."""

    def need(name: str) -> str:
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if found is None:
            pytest.skip(f"{name} is not installed")
        return found

    return need


@pytest.fixture
def screenshots(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder for pictures: `--screenshots`, else a temporary one."""
    chosen = request.config.getoption("--screenshots")
    folder = Path(chosen) if chosen else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    return folder
