"""The table of commands, and how errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, Parameter

from thingward._version import __version__
from thingward.model.errors import ThingwardError

STDIN = "/dev/stdin"
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_AWAY = 3
EXIT_INTERRUPTED = 130

_COMMANDS = "thingward.apps.cli"

app = App(
    name="thingward",
    version=__version__,
    help="Finds the connected things you own, learns what each one needs, and refuses the rest once you approve.",
    version_flags=["--version", "-V"],
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)

#: Command to where it lives and what it does in one line; the place is imported when the command is called.
LAZY = {
    "guard": ("guard:guard", "See, weigh, learn and preview: captures, Zeek logs, interfaces."),
    "up": ("platform:up", "Run the whole platform in the foreground."),
    "demo": ("platform:demo", "Show the main job on a simulated site."),
    "doctor": ("machine:doctor", "Tell what works on this machine, what does not, and how to mend it."),
    "status": ("standing:status", "Show processes, sources and what is wrong now."),
    "site": ("sites:site", "Sites: list, show, approve, export."),
    "device": ("devices:device", "Devices: list, show, edit, export, quarantine, release."),
    "approval": ("devices:approval", "Approvals: list, queue, approve, withdraw."),
    "action": ("devices:action", "Actions, and what is in force."),
    "enforce": ("enforce:enforce", "What is in force on this host; remove everything."),
    "finding": ("findings:finding", "What looks wrong."),
    "case": ("findings:case", "Cases: list, show, note, assign, close, reopen."),
    "event": ("findings:event", "Security events."),
    "push": ("push:push", "Hand lines of Zeek, Suricata or other observations to the platform."),
    "audit": ("findings:audit", "What people and programs did."),
    "evidence": ("findings:evidence", "Signed evidence bundles."),
    "claim": ("enrolment:claim", "One-time tokens by which devices enrol: create, list, withdraw."),
    "enrolment": ("enrolment:enrolment", "Who asked for a certificate: list, approve, refuse."),
    "certificate": ("enrolment:certificate", "Devices' certificates: list, show, revoke."),
    "rule": ("people:rule", "Response rules."),
    "limits": ("people:limits", "Limits and the never-block list."),
    "user": ("people:user", "Users and login links."),
    "token": ("people:token", "Access tokens."),
    "settings": ("standing:settings", "Settings: list, set."),
    "capture": ("captures:capture", "Captures on the platform: upload, list, show, import, delete."),
    "notify": ("people:notify", "Test a notification channel."),
    "backup": ("keep:backup", "Write everything that the platform keeps into one file."),
    "restore": ("keep:restore", "Put a backup in the place of the data folder."),
    "upgrade": ("keep:upgrade", "Tell what a start of this version would change about your data."),
    "pack": ("packs:pack", "Lists of known-bad addresses and names: import, list, remove."),
    "completion": ("machine:completion", "Print the completion script for bash, zsh or fish."),
    "warm": ("platform:warm", "Compile the packet kernels once; part of set-up."),
}

for _name, (_place, _help) in LAZY.items():
    app.command(f"{_COMMANDS}.{_place}", name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0 done; 1 failed; 2 the call or its input cannot be used; 3 the platform or an engine is away; 130 interrupted.
    """
    given = sys.argv[1:] if arguments is None else arguments
    # A lone dash is standard input; the parser would take it for an option without a name.
    tokens = [STDIN if word == "-" else word for word in given]
    try:
        result = app(tokens, exit_on_error=False, print_error=True, result_action="return_value")
    except ThingwardError as error:
        sys.stderr.write(f"thingward: {error}\n")
        return _exit_code(error)
    except KeyboardInterrupt:
        sys.stderr.write("\nthingward: interrupted.\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`| head`): nobody is left to tell; keep the interpreter from trying at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except OSError as error:
        sys.stderr.write(f"thingward: {error.filename or 'output'}: {error.strerror}.\n")
        return EXIT_ERROR
    except _cyclopts_error():
        return EXIT_USAGE
    return result if isinstance(result, int) else 0


def _exit_code(error: ThingwardError) -> int:
    if error.retryable:
        return EXIT_AWAY
    return EXIT_USAGE if error.status in (400, 422) else EXIT_ERROR


def _cyclopts_error() -> type[Exception]:
    from cyclopts import CycloptsError

    return CycloptsError
