"""JA4 against the values that FoxIO's own programs expect of their captures."""

import json
from pathlib import Path

import pytest

from tests.golden.streams import follow_streams
from tests.golden.tshark_oracle import read_frames
from thingward.wire.tls import TlsClientHello

# FoxIO's Python program prints 99 for a protocol that is not ASCII. The description says: the ends of its hexadecimal
# form, which is what we do.
OLDER_THAN_THE_DESCRIPTION = {"t13d151699_8daaf6152771_e5627efa2ab1": "t13d1516bd_8daaf6152771_e5627efa2ab1"}


def expected(path: Path) -> list[tuple[int, str, str]]:
    """(stream, server name, JA4) of each client hello in one expectation file."""
    rows = json.loads(path.read_text())
    return [(row["stream"], row.get("domain") or "", row["JA4.1"]) for row in rows if "JA4.1" in row]


@pytest.mark.data
@pytest.mark.slow
def test_fingerprints_are_those_of_the_reference(data_dir, need_program):
    checked = 0
    wrong = []
    for path in sorted((data_dir / "ja4" / "python" / "test" / "testdata").glob("*.json")):
        capture = data_dir / "ja4" / "pcap" / path.stem
        wanted = expected(path) if capture.is_file() else []
        if not wanted:
            continue
        streams = follow_streams(read_frames(need_program("tshark"), capture, ()))
        for stream, name, fingerprint in wanted:
            hellos = [one for one in streams[stream].messages if isinstance(one, TlsClientHello)]
            fingerprint = OLDER_THAN_THE_DESCRIPTION.get(fingerprint, fingerprint)
            checked += 1
            if fingerprint not in [one.ja4 for one in hellos] or name.lower() not in [one.sni for one in hellos]:
                wrong.append((path.name, stream, fingerprint, hellos))
    assert not wrong
    assert checked >= 60
