"""Indicator packs that a person imported: kept by content in the data folder, owner-only, loaded when core starts and when they change."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from thingward.detection.indicators import Indicator, IndicatorMatcher, IndicatorPack, parse_pack
from thingward.detection.rules import Content
from thingward.model.errors import InvalidInput, LimitExceeded, NotFound
from thingward.runtime.pack_info import PackInfo

MAX_FILE_BYTES: Final = 256 << 20
MAX_PACKS: Final = 200
MAX_ALL_INDICATORS: Final = 4_000_000
#: Lists that are older say little about today's addresses.
STALE_S: Final = 30 * 86400.0
_MAGIC: Final = b"TWPACK1\n"
_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    info: PackInfo
    indicators: tuple[Indicator, ...] = ()


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    info: PackInfo


_AnyStored = TypeVar("_AnyStored", _Stored, _Header)


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """Packs that were read, and why others were not, as plain lines."""

    packs: tuple[IndicatorPack, ...] = ()
    infos: tuple[PackInfo, ...] = ()
    problems: tuple[str, ...] = ()


def packs_folder(home: Path) -> Path:
    """Where packs are kept."""
    return home / "packs"


def read_pack(path: Path, *, name: str = "", confidence: float = 0.8) -> tuple[IndicatorPack, str]:
    """Read a list that somebody else wrote; gives it and the SHA-256 of the file.

    Raises:
        InvalidInput: it cannot be read, is too large, or holds no indicator.
    """
    name = name or re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).lstrip("._-")[:64] or "pack"
    verify_pack(name, confidence)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}.") from error
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInput(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB.", hint="Split it.")
    try:
        pack = pack_of(name, data, confidence=confidence)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error
    return pack, hashlib.sha256(data).hexdigest()


def verify_pack(name: str, confidence: float) -> None:
    """Raise InvalidInput for a name that is none, or a confidence out of bounds."""
    if not _NAME.match(name):
        raise InvalidInput(f"{name[:80]!r} is no name of a pack.", hint="Use letters, digits, dot, dash, underscore.")
    if not 0 < confidence <= 1:
        raise InvalidInput("confidence lies above 0 and up to 1.")


def pack_of(name: str, data: bytes, *, confidence: float = 0.8) -> IndicatorPack:
    """Read a list's bytes; raises InvalidInput if they hold no indicator."""
    verify_pack(name, confidence)
    return parse_pack(name, data.decode("utf-8-sig", "replace"), confidence=confidence)


def import_pack(home: Path, pack: IndicatorPack, digest: str, *, now: float, dry_run: bool = False) -> PackInfo:
    """Keep a pack; one of the same name is replaced. Raises LimitExceeded above the bounds."""
    info = PackInfo(
        name=pack.name,
        digest=digest,
        imported=now,
        count=len(pack.indicators),
        refused=pack.refused_count,
        confidence=pack.confidence,
    )
    others = [(path, other) for path, other in _headers(home) if other.name != pack.name]
    if len(others) >= MAX_PACKS or sum(other.count for _, other in others) + info.count > MAX_ALL_INDICATORS:
        raise LimitExceeded(
            f"at most {MAX_PACKS} packs with {MAX_ALL_INDICATORS} indicators are kept.",
            hint="Remove one: thingward pack remove NAME.",
        )
    if dry_run:
        return info
    folder = packs_folder(home)
    for needed in (home, folder):
        needed.mkdir(parents=True, exist_ok=True, mode=0o700)
    body = msgspec.msgpack.encode(_Stored(info=info, indicators=pack.indicators))
    target = folder / f"{hashlib.sha256(body).hexdigest()}.pack"
    _write(target, _MAGIC + body)
    for path, other in _headers(home):
        if other.name == pack.name and path != target:
            path.unlink(missing_ok=True)
    return info


def remove_pack(home: Path, name: str, *, dry_run: bool = False) -> PackInfo:
    """Forget a pack; raises NotFound if there is none of this name."""
    for path, info in _headers(home):
        if info.name == name:
            if not dry_run:
                path.unlink(missing_ok=True)
            return info
    raise NotFound(f"there is no pack {name}.", hint="See thingward pack list.")


def list_packs(home: Path) -> list[PackInfo]:
    """Give what is kept, by name."""
    return sorted((info for _, info in _headers(home)), key=lambda info: info.name)


def load_packs(home: Path) -> Loaded:
    """Read all packs; a damaged one is left out and named, so that it is known what is not looked for."""
    packs, infos, problems = [], [], []
    for path in _files(home):
        try:
            stored = _decode(path, msgspec.msgpack.Decoder(_Stored))
        except InvalidInput as error:
            problems.append(str(error))
            continue
        infos.append(stored.info)
        packs.append(
            IndicatorPack(name=stored.info.name, indicators=stored.indicators, confidence=stored.info.confidence)
        )
    return Loaded(packs=tuple(packs), infos=tuple(infos), problems=tuple(problems))


def content_of(packs: Sequence[IndicatorPack], never: Sequence[str] = ()) -> Content:
    """Give what detection's rules are made of with these packs; `never` matches nothing."""
    return Content(matcher=IndicatorMatcher(packs, never))


def packs_text(infos: Sequence[PackInfo], now: float) -> str:
    """Say in one line what is looked for; without a pack that is nothing, which is not the same as clean."""
    if not infos:
        return "no indicator pack is imported: whether a device talks to known-bad addresses is unknown, not ruled out"
    oldest = max(now - info.imported for info in infos)
    count = sum(info.count for info in infos)
    text = f"{len(infos)} indicator packs with {count} indicators, the oldest imported {max(oldest, 0) / 86400:.0f} days ago"
    return f"{text}; lists of that age say little about today" if oldest > STALE_S else text


def _headers(home: Path) -> list[tuple[Path, PackInfo]]:
    found = []
    decoder = msgspec.msgpack.Decoder(_Header)
    for path in _files(home):
        try:
            found.append((path, _decode(path, decoder).info))
        except InvalidInput:
            continue
    return found


def _files(home: Path) -> list[Path]:
    folder = packs_folder(home)
    return sorted(folder.glob("*.pack"))[: MAX_PACKS + 1] if folder.is_dir() else []


def _decode(path: Path, decoder: msgspec.msgpack.Decoder[_AnyStored]) -> _AnyStored:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"the pack {path} cannot be read: {error.strerror}.") from error
    body = data[len(_MAGIC) :]
    if not data.startswith(_MAGIC) or hashlib.sha256(body).hexdigest() != path.stem:
        raise InvalidInput(f"the pack {path} is damaged.", hint="Delete it and import its list again.")
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the pack {path} cannot be used: {error}.", hint="Import its list again.") from error


def _write(target: Path, data: bytes) -> None:
    draft = target.with_suffix(".new")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InvalidInput(f"cannot write {target}: {error.strerror}.", hint="Free some space.") from error
