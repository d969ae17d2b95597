"""Giving up Linux capabilities: a process keeps what its work needs and can never get more back."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection
from typing import Final

from thingward.model.errors import UnsupportedHere

NET_ADMIN: Final = 12
NET_RAW: Final = 13

_LAST_CAP: Final = 63
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAP_VERSION_3: Final = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def held_capabilities() -> frozenset[int]:
    """Give the numbers of the capabilities that this process has."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(_CAP_VERSION_3, 0), (_Sets * 2)()
    _check(libc.capget(ctypes.byref(header), ctypes.byref(sets)))
    permitted = sets[0].permitted | sets[1].permitted << 32
    return frozenset(number for number in range(_LAST_CAP + 1) if permitted >> number & 1)


def keep_capabilities(keep: Collection[int], *, for_children: bool = False) -> frozenset[int]:
    """Drop every capability but these, for this process and whatever it starts.

    Args:
        for_children: programs that this process starts may have them too (`nft` needs CAP_NET_ADMIN of its own).
    Returns:
        Those of `keep` that this process really has.
    Raises:
        UnsupportedHere: the kernel refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(_CAP_VERSION_3, 0), (_Sets * 2)()
    _check(libc.capget(ctypes.byref(header), ctypes.byref(sets)))
    permitted = sets[0].permitted | sets[1].permitted << 32
    kept = frozenset(number for number in keep if permitted >> number & 1)
    for number in range(_LAST_CAP + 1):
        if number not in kept:
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)  # refused without CAP_SETPCAP: then no_new_privs does it
    _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    mask = sum(1 << number for number in kept)
    for index in range(2):
        word = mask >> 32 * index & 0xFFFFFFFF
        sets[index] = _Sets(word, word, word if for_children else 0)
    _check(libc.capset(ctypes.byref(header), ctypes.byref(sets)))
    if for_children and os.geteuid() != 0:
        for number in kept:
            libc.prctl(_PR_CAP_AMBIENT, 2, number, 0, 0)
    return kept


def _check(result: int) -> None:
    if result != 0:
        raise UnsupportedHere(f"capabilities cannot be given up: {os.strerror(ctypes.get_errno())}.")
