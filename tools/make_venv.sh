#!/bin/sh
# Make a virtual environment: make_venv.sh PYTHON DIRECTORY
# Finds a Python that is new enough, and copes with systems that ship venv without ensurepip.
set -eu
wanted=$1
venv=$2

runs() {
    # A version manager's shim exists without running, so the interpreter has to answer itself.
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

python=
for candidate in "$wanted" python3.13 python3.12 python3.11; do
    if runs "$candidate"; then
        python=$candidate
        break
    fi
    if [ "$candidate" = "$wanted" ]; then
        found=$("$wanted" --version 2>&1 | head -n 1 || true)
        echo "$wanted is not Python 3.11 or newer (${found:-not found}); looking for another one" >&2
    fi
done
if [ -z "$python" ]; then
    echo "polyexec needs Python 3.11 or newer: install it, or name it with PYTHON=/path/to/python3" >&2
    exit 1
fi

# Said here, because what a failing build says about it is long and late.
compiler=
for candidate in ${CC:-cc gcc clang}; do
    # CC can hold flags: its first word is the compiler.
    compiler=$(command -v "$candidate" || true)
    if [ -n "$compiler" ] || [ -n "${CC:-}" ]; then
        break
    fi
done
if [ -z "$compiler" ]; then
    echo "polyexec compiles its hot path and needs a C compiler (gcc or clang)" >&2
    exit 1
fi
if ! "$python" -c 'import os, sysconfig as s, sys
sys.exit(not os.path.exists(os.path.join(s.get_path("include"), "Python.h")))'; then
    echo "$python has no C headers: install your system's python3-dev package" >&2
    exit 1
fi

echo "==> Making $venv with $("$python" --version)"
rm -rf "$venv"
if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
    rm -rf "$venv"
    echo "==> This Python has no ensurepip; using virtualenv instead"
    if ! "$python" -m pip --version >/dev/null 2>&1; then
        echo "It has no pip either: install your system's python3-venv or python3-pip package" >&2
        exit 1
    fi
    "$python" -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
        --target .venv-boot virtualenv
    PYTHONPATH=.venv-boot "$python" -m virtualenv --quiet "$venv"
    rm -rf .venv-boot
fi
