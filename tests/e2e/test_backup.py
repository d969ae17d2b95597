"""Back up while another process writes, and be killed in the middle."""

import os
import signal
import subprocess
import sys
import textwrap

from thingward.adapters.event_store.duckdb import DuckdbEventStore
from thingward.model.ids import DEFAULT_TENANT
from thingward.ports.event_store import EventQuery
from thingward.runtime.backup import make_backup
from thingward.runtime.restore import is_running, restore_backup

NOW = 1_700_000_000.0
STORE = """
    import sys
    from pathlib import Path
    from thingward.adapters.event_store.duckdb import DuckdbEventStore
    from thingward.model.event import Event
    from thingward.model.ids import DEFAULT_TENANT
    from thingward.model.observation import StatusData

    store = DuckdbEventStore(Path(sys.argv[1]) / "events.duckdb", memory_mb=128, threads=1)
    def event(n):
        return Event(uid=f"{n:032x}", tenant=DEFAULT_TENANT, time=float(n), source="t", class_uid=6002, severity=1,
                     data=StatusData(status="alive"))
    store.append(DEFAULT_TENANT, [event(n) for n in range(1, 101)])
    print("ready", flush=True)
    n = 101
    while True:
        store.append(DEFAULT_TENANT, [event(n)])
        n += 1
"""
KILLED = """
    import os, signal, sys
    from pathlib import Path
    from thingward.runtime import archive, backup, restore

    calls = 0
    def dying(real):
        def call(*arguments, **more):
            global calls
            calls += 1
            if calls == int(sys.argv[1]):
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **more)
        return call

    archive._take = dying(archive._take)
    archive._entry = dying(archive._entry)
    restore._swap = dying(restore._swap)
    restore._exchange = dying(restore._exchange)
    if sys.argv[2] == "backup":
        backup.make_backup(Path(sys.argv[3]), Path(sys.argv[4]), now=0.0)
    else:
        restore.restore_backup(Path(sys.argv[4]), Path(sys.argv[3]), now=0.0, force=True)
"""


def run_killed(call: int, what: str, home, archive) -> int:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(call), what, str(home), str(archive)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_events_of_a_running_store_are_in_the_backup(tmp_path):
    home = tmp_path / "data"
    command = [sys.executable, "-c", textwrap.dedent(STORE), str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as store:
        try:
            assert store.stdout.readline() == b"ready\n"
            manifest = make_backup(home, tmp_path / "b", now=NOW)
            assert store.poll() is None
        finally:
            store.kill()
    assert manifest.left_out == ()
    restore_backup(tmp_path / "b", tmp_path / "other", now=NOW)
    copy = DuckdbEventStore(tmp_path / "other" / "events.duckdb", memory_mb=128, threads=1)
    times = [item.time for item in copy.query(DEFAULT_TENANT, EventQuery(newest_first=False, limit=1000)).items]
    copy.close()
    assert len(times) >= 100
    assert times == [float(number) for number in range(1, len(times) + 1)]


def test_a_killed_backup_leaves_no_file_that_looks_like_one(tmp_path):
    home = tmp_path / "data"
    home.mkdir()
    for name in "abc":
        (home / name).write_text(name)
    make_backup(home, tmp_path / "b", now=NOW)
    before = (tmp_path / "b").read_bytes()
    (home / "a").write_text("changed")
    for call in (1, 2, 4):
        assert run_killed(call, "backup", home, tmp_path / "b") == -signal.SIGKILL
        assert (tmp_path / "b").read_bytes() == before


def test_a_killed_restore_leaves_the_old_folder_or_the_new_one(tmp_path):
    home = tmp_path / "data"
    home.mkdir()
    for name in "abc":
        (home / name).write_text("new")
    make_backup(home, tmp_path / "b", now=NOW)
    for name in "abc":
        (home / name).write_text("old")
    for call in (1, 2, 3, 4, 5):  # three members, the swap, the exchange in it
        assert run_killed(call, "restore", home, tmp_path / "b") == -signal.SIGKILL
        assert {(home / name).read_text() for name in "abc"} == {"old"}
    restore_backup(tmp_path / "b", home, now=NOW, force=True)
    assert {(home / name).read_text() for name in "abc"} == {"new"}


def test_a_socket_that_answers_is_a_running_platform(tmp_path):
    code = textwrap.dedent("""
        import socket, sys
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(sys.argv[1])
        sock.listen()
        print("ready", flush=True)
        sys.stdin.read()
    """)
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "core.sock"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        assert is_running(tmp_path)
        process.stdin.close()
        process.wait(timeout=30)
    assert os.path.exists(path)
    assert not is_running(tmp_path)
