"""``make wire-soak``: so many POSTs over rotating connections, then count what they left."""

import argparse
import asyncio
import gc
import os
import random
import sys
from pathlib import Path

import msgspec

from benchmarks.peers import floor
from polyexec.clob import connection
from polyexec.clob.pool import OrderTransport
from polyexec.core.ports import Answer, NoAnswer, Outcome

_BODY = b"x" * floor.BODY_BYTES
_AT_ONCE = 8
_MOST_GROWTH = 4 * 1024 * 1024


class Count(msgspec.Struct):
    """What became of the requests, and what they left."""

    posts: int = 0
    answered: int = 0
    unknown: int = 0
    not_sent: int = 0
    connections: int = 0
    leaks: list[str] = msgspec.field(default_factory=list)


def resident_bytes() -> int:
    """Return the memory of this process that is in use now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Return how many this process has open."""
    return len(os.listdir("/proc/self/fd"))


async def soak(posts: int, seed: int, *, most_requests: int = 0, leak_bytes: int = 0) -> Count:
    """Send ``posts`` requests, cut a connection now and then, and close everything."""
    rng, count = random.Random(seed), Count()
    kept: list[bytes] = []
    before, made = descriptors(), set()
    used = connection._MOST_REQUESTS
    connection._MOST_REQUESTS = most_requests or used
    try:
        transport = OrderTransport(
            floor.url(), ssl_context=floor.client_context(), size=2, ping_interval_s=1
        )
        await transport.open()
        early = 0
        while count.posts < posts:
            made.update(id(c) for c in transport._usable)
            if rng.random() < 0.0005 and transport.connected == 2:
                rng.choice(transport._usable).close("cut by the soak")
            batch = min(_AT_ONCE, posts - count.posts)
            outcomes = await asyncio.gather(
                *(transport.request("POST", "/orders", {}, _BODY) for _ in range(batch))
            )
            count.posts += batch
            for outcome in outcomes:
                _tally(count, outcome)
                if leak_bytes:
                    kept.append(rng.randbytes(leak_bytes))
            if not early and count.posts * 10 >= posts:
                early = _settled_bytes()
        count.connections = len(made)
        late = _settled_bytes()
        if late - early > _MOST_GROWTH:
            count.leaks.append(f"{late - early} bytes more than after a tenth")
        waiting = sum(c.in_flight for c in transport._usable)
        if waiting:
            count.leaks.append(f"{waiting} requests still in flight")
        await transport.close()
    finally:
        connection._MOST_REQUESTS = used
    await asyncio.sleep(0.05)
    if descriptors() > before:
        count.leaks.append(f"{descriptors() - before} descriptors")
    if count.answered + count.unknown + count.not_sent != count.posts:
        count.leaks.append("requests without an outcome")
    return count


def _tally(count: Count, outcome: Outcome) -> None:
    if isinstance(outcome, Answer):
        count.answered += 1
    elif isinstance(outcome, NoAnswer) and outcome.error.sent == "NO":
        count.not_sent += 1
    else:
        count.unknown += 1


def _settled_bytes() -> int:
    gc.collect()
    return resident_bytes()


def main() -> int:
    """Run, and print the count last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most-requests", type=int, default=0, help="of one connection")
    parser.add_argument("--leak", type=int, default=0, help="bytes kept per request: must be found")
    options = parser.parse_args()
    reason = floor.build()
    if reason:
        raise SystemExit(f"the server cannot be built: {reason}")
    floor.port()
    count = asyncio.run(
        soak(
            options.posts,
            options.seed,
            most_requests=options.most_requests,
            leak_bytes=options.leak,
        )
    )
    for leak in count.leaks:
        print(f"leak: {leak}")
    print(
        f"answered={count.answered} unknown={count.unknown} not_sent={count.not_sent} "
        f"connections={count.connections}"
    )
    print(f"posts={count.posts} leaks={len(count.leaks)} seed={options.seed}")
    return 1 if count.leaks else 0


if __name__ == "__main__":
    sys.exit(main())
