#!/bin/sh
# Run the tests of the compiled code under the address and undefined-behaviour sanitisers. The
# instrumented build lives in a copy: an ordinary interpreter cannot load it.
set -eu
cd "$(dirname "$0")/.."
POLYEXEC_SHARED=${POLYEXEC_SHARED:-$(cd .. && pwd)/shared}
export POLYEXEC_SHARED POLYEXEC_SANITIZE=1

asan=$("${CC:-gcc}" -print-file-name=libasan.so)
case $asan in
/*) ;;
*) echo "the compiler has no libasan.so" >&2; exit 1 ;;
esac

rm -rf .sanitize
mkdir .sanitize
tar -cf - --exclude='*.so' --exclude='*.c' --exclude='*.egg-info' --exclude=__pycache__ \
    pyproject.toml setup.py README.md LICENSE src tests tools | tar -xf - -C .sanitize
cd .sanitize
echo "==> Building with sanitisers"
"$PYTHON" setup.py --quiet build_ext --inplace --force >build.log 2>&1 || { cat build.log; exit 1; }

[ $# -gt 0 ] || set -- tests/unit/test_impl.py tests/unit/test_sizing.py tests/unit/test_numbers.py \
    tests/unit/core/test_amounts.py tests/unit/core/test_candidates.py tests/vectors \
    tests/unit/core/test_gate.py tests/unit/core/test_ledger.py tests/property/test_ledger.py \
    tests/property/test_legs.py tests/property/test_batch.py tests/unit/test_nonces.py \
    tests/unit/test_hmac_sha256.py tests/concurrency tests/property/test_layer0.py \
    tests/property/test_numbers.py tests/fuzz/test_runner.py
echo "==> Running the tests under them"
# pycryptodome opens its libraries with RTLD_DEEPBIND, which the address sanitiser forbids. The
# interpreter's own allocator would hide overruns, and it leaks at exit by design.
status=0
env LD_PRELOAD="$asan" PYTHONMALLOC=malloc PYCRYPTODOME_DISABLE_DEEPBIND=1 \
    ASAN_OPTIONS=detect_leaks=0:abort_on_error=0:log_path="$PWD/report" \
    UBSAN_OPTIONS=print_stacktrace=1:log_path="$PWD/report" \
    PYTHONPATH="$PWD/src" "$PYTHON" -m pytest -q -p no:cacheprovider -m "not slow" \
    -k "not switch_forces and not planted and not without_coincurve \
        and not broken_generator and not memory_is_protected" "$@" || status=$?
reports=$(find . -maxdepth 1 -name 'report*' | wc -l)
find . -maxdepth 1 -name 'report*' -exec cat {} +
echo "sanitizers=address,undefined reports=$((reports)) tests=$([ $status -eq 0 ] && echo passed || echo failed)"
[ "$status" -eq 0 ] && [ "$((reports))" -eq 0 ]
