#!/bin/sh
# Install what tests start and pip has not: Redis, PostgreSQL, a browser. Debian, as root; where that
# is not so, or the packages cannot be had, the tests that want them skip and say so.
set -u

missing=""
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
command -v psql >/dev/null 2>&1 || missing="$missing postgresql"
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed, tests of them skip:$missing"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
timeout 300 apt-get update -qq >/dev/null 2>&1 || true
for package in $missing; do
    # One by one: the one that cannot be had must not keep the others away.
    timeout 600 apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 ||
        echo "could not install $package: tests of it skip"
done
exit 0
