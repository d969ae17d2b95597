#!/usr/bin/env bash
# Make .venv ready: `tools/setup.sh run` for using thingward, `tools/setup.sh dev` for working on it.
# Does nothing when the lock files have not changed since the last time.
set -euo pipefail
cd "$(dirname "$0")/.."
level="${1:?usage: tools/setup.sh run|dev}"
venv="${VENV:-.venv}"

say() { printf '%s\n' "$*"; }
stop() {
    printf '%s\n' "$@" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    local found
    found="$("${PYTHON:-python3}" --version 2>/dev/null || echo "no python3")"
    stop "thingward needs Python 3.11 to 3.14; found: $found." \
        "Debian 12 and Ubuntu 24.04 bring it: sudo apt-get install python3 python3-venv" \
        "Another interpreter is chosen with: make PYTHON=/path/to/python3.11 ..."
}

create_venv() {
    local python
    python="$(find_python)"
    if "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        say "setup: new environment in $venv ($("$python" --version))"
        "$python" -m venv "$venv"
    elif command -v uv >/dev/null; then
        say "setup: new environment in $venv ($("$python" --version), by uv)"
        uv venv --quiet --python "$python" "$venv"
    else
        stop "Python's venv module is missing. Install it, then run make again:" "    sudo apt-get install python3-venv"
    fi
}

install() { # PIP-ARGUMENT...
    if [ -x "$venv/bin/pip" ]; then
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$@"
    elif command -v uv >/dev/null; then
        uv pip install --quiet --python "$venv/bin/python" "$@"
    else
        stop "$venv has no pip and uv is not on the PATH: remove $venv and run make again."
    fi
}

# The console's libraries need npm once. Where the machine has none, node comes from PyPI into a folder that is removed.
fetch_assets() {
    if command -v npm >/dev/null && command -v node >/dev/null; then
        "$venv/bin/python" hatch_build.py
        return
    fi
    local node=build/node
    if ! "$venv/bin/python" hatch_build.py --check; then
        say "setup: no node here, taking it from PyPI for this step"
        install --no-deps --target "$node" --require-hashes -r requirements-node.lock
        PYTHONPATH="$node" "$venv/bin/python" hatch_build.py
        rm -rf "$node"
    fi
}

wanted() { cat pyproject.toml hatch_build.py package-lock.json requirements*.lock tools/setup.sh | sha256sum | cut -d' ' -f1; }
is_done() { [ -f "$venv/.thingward-$1" ] && [ "$(cat "$venv/.thingward-$1")" = "$stamp" ]; }

stamp="$(wanted)"
[ -x "$venv/bin/python" ] || create_venv
# Kernels change with the code, not with the locks: they have a stamp of their own.
kernels="$(cat src/thingward/wire/packets/*.py | sha256sum | cut -d' ' -f1)"
warm() {
    [ -f "$venv/.thingward-kernels" ] && [ "$(cat "$venv/.thingward-kernels")" = "$kernels" ] && return
    say "setup: compiling the packet kernels once"
    "$venv/bin/thingward" warm || stop "setup: the packet kernels cannot be compiled (above)."
    printf '%s\n' "$kernels" >"$venv/.thingward-kernels"
}

if is_done "$level" || { [ "$level" = run ] && is_done dev; }; then
    "$venv/bin/python" hatch_build.py --check >/dev/null || fetch_assets
    warm
    exit 0
fi

case "$level" in
run) locks=(-r requirements.lock -r requirements-build.lock) ;;
dev) locks=(-r requirements-dev.lock) ;;
*) stop "usage: tools/setup.sh run|dev" ;;
esac
say "setup: installing the locked packages ($level); a minute the first time"
install --require-hashes "${locks[@]}"
say "setup: fetching the console's libraries"
fetch_assets
say "setup: installing thingward from this checkout"
install --no-deps --no-build-isolation -e .
warm
printf '%s\n' "$stamp" >"$venv/.thingward-$level"
say "setup: done"
