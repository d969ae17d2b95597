"""Handlers for indicator packs: they check here; core reads, keeps and loads lists beside the road, then answers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from thingward.model.errors import InvalidInput
from thingward.model.intent import ImportPack, Intent, LoadPacks, RemovePack
from thingward.runtime.desk import Decision, Handler, body_of
from thingward.runtime.packs import remove_pack, verify_pack

#: Below what one frame of a link carries; larger lists are put into the data folder by the command line.
MAX_PACK_BYTES: Final = 12 << 20


def pack_handlers(home: Path) -> dict[type, Handler]:
    """Handlers for importing, removing and loading packs."""
    return {
        ImportPack: lambda intent, context: import_list(intent),
        RemovePack: lambda intent, context: remove_list(intent, home),
        LoadPacks: lambda intent, context: Decision(plan=("load all packs of the data folder",), target="packs"),
    }


def import_list(intent: Intent) -> Decision:
    """Check what can be checked without reading the list."""
    body = body_of(intent, ImportPack)
    verify_pack(body.name, body.confidence)
    if not 0 < len(body.text) <= MAX_PACK_BYTES:
        raise InvalidInput(f"a list holds 1 byte to {MAX_PACK_BYTES >> 20} MiB.", hint="Use thingward pack import.")
    return Decision(plan=(f"import pack {body.name} from {len(body.text)} bytes",), target=body.name)


def remove_list(intent: Intent, home: Path) -> Decision:
    """Check that there is such a pack."""
    info = remove_pack(home, body_of(intent, RemovePack).name, dry_run=True)
    return Decision(plan=(f"remove pack {info.name} with {info.count} indicators",), target=info.name)
