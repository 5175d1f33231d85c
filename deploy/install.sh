#!/bin/sh
# install.sh MEMBER VENV: a member of the workspace and what it needs, into a virtual environment of its own.
# Versions and hashes are those of requirements.lock; our own code goes in as wheels, not editable; no tool stays behind.
# Run from the repository's root. The images do it (Dockerfile), and so does the test of them.
set -eu

member=$1
venv=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The lines of the lock for the names in the file $1, one a line. Fails for a name that is not locked.
locked() {
    awk '
        FNR == NR { wanted[$1] = 1; next }
        /^[a-zA-Z0-9]/ { name = $1; sub(/[=[].*/, "", name); on = name in wanted; delete wanted[name] }
        on
        END { for (name in wanted) { print name " is not in requirements.lock" > "/dev/stderr"; missing = 1 } exit missing }
    ' "$1" requirements.lock
}

# What resolves and builds, in an environment that is thrown away.
printf '%s\n' uv hatchling packaging pathspec pluggy trove-classifiers >"$work/tools.names"
locked "$work/tools.names" >"$work/tools.txt"
python3 -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$work/tools.txt"
uv=$work/tools/bin/uv

"$uv" venv --quiet --python "$(command -v python3)" "$venv"
"$uv" pip compile --quiet --no-header --no-annotate --constraint requirements.lock --python "$venv/bin/python" \
    --output-file "$work/resolved.txt" "$member/pyproject.toml" >/dev/null

sed -n '/^[a-zA-Z0-9]/s/[=[ ].*//p' "$work/resolved.txt" >"$work/others.names"
locked "$work/others.names" >"$work/others.txt"
"$uv" pip install --quiet --python "$venv/bin/python" --compile-bytecode --no-deps --require-hashes -r "$work/others.txt"

for folder in "$member" $(sed -n 's|^-e file://||p' "$work/resolved.txt"); do
    (cd "$folder" && "$work/tools/bin/python" -m hatchling build -t wheel -d "$work/wheels" >/dev/null 2>&1) ||
        { echo "no wheel can be built of $folder" >&2; exit 1; }
done
"$uv" pip install --quiet --python "$venv/bin/python" --compile-bytecode --no-deps --no-index "$work"/wheels/*.whl
