#!/bin/sh
# Measure line coverage of the .pyx sources: a traced build is slow, so it lives in a copy.
set -eu
cd "$(dirname "$0")/.."
POLYEXEC_SHARED=${POLYEXEC_SHARED:-$(cd .. && pwd)/shared}
export POLYEXEC_SHARED POLYEXEC_TRACE=1

rm -rf .trace
mkdir .trace
tar -cf - pyproject.toml setup.py README.md LICENSE src tests tools docs examples benchmarks \
    --exclude='*.so' --exclude='*.c' --exclude=_build --exclude='*.egg-info' \
    --exclude=__pycache__ | tar -xf - -C .trace
cd .trace
echo "==> Building with line tracing"
"$PYTHON" setup.py --quiet build_ext --inplace --force
echo "==> Running the tests under coverage"
[ $# -gt 0 ] || set -- tests/unit tests/property tests/vectors tests/exhaustive
# --cov=polyexec._fast would make coverage import the package once before it traces.
PYTHONPATH=$PWD/src "$PYTHON" -m pytest -q -m "not slow" --cov=polyexec \
    --cov-config=tools/trace.coveragerc --cov-report=term-missing "$@"
