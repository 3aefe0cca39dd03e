"""``make soak``: simulated sessions with faults, and an account of what they broke."""

import argparse
import sys

from tests.soak.world import run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    world = run(options.sessions, options.seed)
    for violation in world.violations[:20]:
        print(violation)
    print(
        f"sessions={options.sessions} faults={world.faults} "
        f"violations={len(world.violations)} seed={options.seed}"
    )
    return 1 if world.violations else 0


if __name__ == "__main__":
    sys.exit(main())
