"""`python -m tests.bench [--rounds N] [--list] [--strict] [PREFIX...]`, which is `make bench ONLY="PREFIX..."`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.bench import harness


def main(arguments: list[str]) -> int:
    """Run the chosen benchmarks; the exit code is 1 if one failed, or with --strict missed its limit."""
    parser = argparse.ArgumentParser(prog="make bench", description="Benchmarks against their peers")
    parser.add_argument("prefixes", nargs="*", metavar="PREFIX", help="only names that begin so (ONLY=...)")
    parser.add_argument("--rounds", type=int, help="instead of each benchmark's own number")
    parser.add_argument("--list", action="store_true", help="name the benchmarks and stop")
    parser.add_argument("--strict", action="store_true", help="a missed limit is an error")
    parser.add_argument("--output", type=Path, default=harness.ROOT / "build" / "bench.json")
    options = parser.parse_args(arguments)
    known = harness.discover()
    chosen = [
        entry for name, entry in known.items() if not options.prefixes or name.startswith(tuple(options.prefixes))
    ]
    if options.list:
        print("\n".join(entry.name for entry in chosen))
        return 0
    if not chosen:
        print(f"no benchmark begins with {' '.join(options.prefixes)}; there are: {' '.join(known)}", file=sys.stderr)
        return 2
    return _run(chosen, options)


def _run(chosen: list[harness.Benchmark], options: argparse.Namespace) -> int:
    data = Path(os.environ.get("THINGWARD_TEST_DATA", harness.ROOT / ".." / "shared" / "data")).resolve()
    results = []
    for place, entry in enumerate(chosen, 1):
        print(f"[{place}/{len(chosen)}] {entry.name} ...", file=sys.stderr, flush=True)
        results.append(harness.run(entry, data, options.rounds))
        harness.write(results[-1:], options.output)
    print(harness.table(results))
    print(f"\nMedians of interleaved rounds; a ratio above 1 is in our favour. Written to {options.output}")
    failed = [result.name for result in results if result.note.startswith("failed")]
    missed = [result.name for result in results if result.ok is False]
    return 1 if failed or (options.strict and missed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
