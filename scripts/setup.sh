#!/usr/bin/env bash
# Makes .venv and installs the project into it, pinned: scripts/setup.sh EXTRAS
set -euo pipefail
cd "$(dirname "$0")/.."
extras=${1:?which extras, as api,worker or dev}

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    say "fmx needs Python 3.11 or newer; name one with PYTHON=/path/to/python3"
    exit 1
}

make_venv() {
    local python=$1
    "$python" -m venv .venv >/dev/null 2>&1 && return
    # Debian and Ubuntu keep the venv module's pip in a package of its own.
    local version package
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    package="python$version-venv"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "Installing $package, which Python's venv needs here"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >&2
        rm -rf .venv
        "$python" -m venv .venv
    else
        say "Python's venv module can't make an environment. On Debian or Ubuntu: sudo apt-get install $package"
        exit 1
    fi
}

if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    rm -rf .venv
    python=$(find_python)
    say "Making .venv with $("$python" --version)"
    make_venv "$python"
fi

say "Installing fmx[$extras] with pinned dependencies (torch is large: the first time takes minutes)"
.venv/bin/python -m pip install --disable-pip-version-check --quiet \
    --constraint constraints.txt --editable ".[$extras]"

# The generator that the tests make a client with. It asks for an older typer than ours, and does
# without for what they use of it.
case ",$extras," in
*,dev,*)
    .venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps \
        --constraint constraints.txt openapi-python-client
    ;;
esac
