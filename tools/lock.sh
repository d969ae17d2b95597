#!/usr/bin/env bash
# Write the three hashed lock files from pyproject.toml and package-lock.json from package.json.
# Nothing in them names a registry: the client's own settings say where packages come from.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${1:?usage: tools/lock.sh PYTHON}"

tool=build/lock-venv
[ -x "$tool/bin/uv" ] || { "$python" -m venv "$tool" && "$tool/bin/pip" install --quiet uv; }
compile() { # OUTPUT ARGUMENT...
    local out=$1
    shift
    "$tool/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
        --output-file "$out" "$@" >/dev/null
    printf '%s\n%s\n' "# Written by make lock from pyproject.toml: do not edit." "$(grep -v '^#' "$out")" >"$out"
    echo "$out: $(grep -c '==' "$out") packages"
}
compile requirements.lock pyproject.toml
compile requirements-build.lock --group build --constraint requirements.lock
compile requirements-dev.lock pyproject.toml --group dev --constraint requirements.lock --constraint requirements-build.lock
compile requirements-node.lock --group node
if command -v npm >/dev/null; then
    npm install --package-lock-only --ignore-scripts --no-audit --no-fund --silent
    echo "package-lock.json: written"
else
    echo "package-lock.json: left as it is (no npm here)"
fi
if grep -nE '://' requirements*.lock package-lock.json; then
    echo "An address got into a lock file (above)." >&2
    exit 1
fi
