"""Two ways to hand a text to nftables: its library in this process, or its program."""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final, Protocol

from thingward.model.errors import Unavailable, UnsupportedHere

TIMEOUT_S: Final = 30.0
_STATELESS: Final = 1 << 2
_JSON: Final = 1 << 4
_TERSE: Final = 1 << 11
_FLAGS: Final = {"-s": _STATELESS, "-j": _JSON, "-t": _TERSE}


class NftRunner(Protocol):
    """Carries out a text as one transaction, or raises.

    Raises:
        UnsupportedHere: this process may not, or the kernel cannot.
        Unavailable: anything else that nftables says.
    """

    def run(self, text: str, *, check_only: bool = False) -> None:
        """Apply; with `check_only` the kernel says whether it would, and changes nothing."""
        ...

    def listing(self, command: str, flags: Sequence[str] = ()) -> str:
        """Give the answer to a `list` command; flags are `-s`, `-j`, `-t` as of the program."""
        ...


def best_runner() -> NftRunner:
    """Give the library where it is installed, else the program: 0.1 against 3 ms for a set element."""
    try:
        return NftLibrary()
    except OSError:
        pass
    program = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if program is None:
        raise UnsupportedHere("nftables is not installed.", hint="On Debian: apt install nftables.")
    return NftProgram(program)


class NftLibrary:
    """libnftables through ctypes."""

    def __init__(self) -> None:
        library = ctypes.CDLL("libnftables.so.1")
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
            getattr(library, name).restype = ctypes.c_char_p
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        library.nft_ctx_set_dry_run.argtypes = [ctypes.c_void_p, ctypes.c_bool]
        library.nft_ctx_free.argtypes = [ctypes.c_void_p]
        self._library = library
        self._context = ctypes.c_void_p(library.nft_ctx_new(0))
        if not self._context or library.nft_ctx_buffer_output(self._context):
            raise OSError("libnftables gives no context")
        library.nft_ctx_buffer_error(self._context)

    def run(self, text: str, *, check_only: bool = False) -> None:
        """Apply a text."""
        self._library.nft_ctx_set_dry_run(self._context, check_only)
        self._command(text)

    def listing(self, command: str, flags: Sequence[str] = ()) -> str:
        """Give the answer to a `list` command."""
        self._library.nft_ctx_set_dry_run(self._context, False)
        self._library.nft_ctx_output_set_flags(self._context, sum(_FLAGS[flag] for flag in flags))
        try:
            return self._command(command)
        finally:
            self._library.nft_ctx_output_set_flags(self._context, 0)

    def _command(self, text: str) -> str:
        failed = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        errors: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        if failed:
            raise _error(errors.decode("utf-8", "replace"))
        return output.decode("utf-8", "replace")


class NftProgram:
    """The program `nft`, started for every text."""

    def __init__(self, path: str) -> None:
        self._path = path

    def run(self, text: str, *, check_only: bool = False) -> None:
        """Apply a text."""
        self._start([*(["-c"] if check_only else []), "-f", "-"], text)

    def listing(self, command: str, flags: Sequence[str] = ()) -> str:
        """Give the answer to a `list` command."""
        return self._start([*flags, *command.split()], "")

    def _start(self, arguments: Sequence[str], text: str) -> str:
        try:
            done = subprocess.run(
                [self._path, *arguments], input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"nft did not run: {error}.") from error
        if done.returncode:
            raise _error(done.stderr)
        return done.stdout


def _error(text: str) -> Unavailable | UnsupportedHere:
    line = next((line.strip() for line in text.splitlines() if "rror" in line), text.strip())[:300]
    if "Operation not permitted" in text:
        return UnsupportedHere(f"nftables refuses this process: {line}.", hint="It needs CAP_NET_ADMIN.")
    if "not supported" in text or "Protocol error" in text:
        return UnsupportedHere(f"this kernel cannot do it: {line}.")
    return Unavailable(f"nftables says: {line}.")
