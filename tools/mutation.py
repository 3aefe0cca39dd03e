"""``make mutation``: break the money code one line at a time, and count the tests that notice.

cosmic-ray says what can be broken; each mutant runs in a process of its own, forked from one that
has imported what the tests need. The files stay as they are: the mutant is handed to ``import``.
Modules of ``_pure`` are the readable twins, which property tests hold the compiled functions to.

Prints what survived and a score per module, and fails when one is below 90 %.
"""

import argparse
import functools
import gc
import importlib
import math
import os
import random
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "polyexec"
LEAST_PERCENT = 90
# A mutant may take so much longer than the tests on the module as it is, and at least so long.
PATIENCE = 5
LEAST_CPU_S = 5
LEAST_WAIT_S = 60
MOST_BYTES = 4 << 30
ENDLESS = (signal.SIGALRM, signal.SIGXCPU, signal.SIGKILL)

# What tests import and what no mutant can change: imported once.
SHARED_MODULES = (
    "pytest",
    "pytest_asyncio.plugin",
    "_hypothesis_pytestplugin",
    "hypothesis.stateful",
    "hypothesis.strategies",
    "coincurve",
    "httpx",
    "msgspec",
    "orjson",
)
_UNUSED = ("cacheprovider", "cov", "anyio", "unraisableexception")
PYTEST = ("-x", "-q", "--tb=no", "--assert=plain", *(f"-pno:{plugin}" for plugin in _UNUSED))


class Target(NamedTuple):
    """A module, and the tests that answer for it: the quick ones first."""

    module: str
    tests: tuple[str, ...]


TARGETS = (
    Target("_pure/ledger.py", ("unit/core/test_ledger.py", "property/test_ledger.py")),
    Target("_pure/gate.py", ("unit/core/test_gate.py",)),
    Target(
        "_pure/legs.py",
        ("unit/core/test_candidates.py", "property/test_legs.py", "property/test_candidates.py"),
    ),
    Target("core/ledger.py", ("unit/core/test_ledger.py",)),
    Target("core/outcome.py", ("unit/core/test_outcome.py",)),
    Target("core/answers.py", ("unit/core/test_answers.py",)),
    Target("core/refusals.py", ("unit/core/test_refusals.py",)),
    Target("core/resolution.py", ("unit/core/test_resolution.py",)),
    Target("core/candidates.py", ("unit/core/test_candidates.py", "property/test_candidates.py")),
    Target(
        "core/exposure.py",
        ("unit/core/test_exposure.py", "unit/core/test_complement.py"),
    ),
    Target("core/evidence.py", ("unit/core/test_evidence.py",)),
    Target("results.py", ("unit/test_results.py",)),
    Target(
        "core/tracking.py",
        (
            "unit/core/test_tracking.py",
            "unit/test_unknown_orders.py",
            "unit/test_reconciliation.py",
            "property/test_tracking.py",
        ),
    ),
)


class Skip(NamedTuple):
    """Mutants that no test could notice: they are left out of the count."""

    module: str
    """Regular expression, as the others."""
    operator: str
    line: str
    reason: str


SKIPS = (
    Skip("", "BinaryOperator_BitOr", "", "a union of types: importing the mutant fails"),
    Skip(
        "",
        "_Is_Eq$|_IsNot_NotEq$",
        r"\bis (not )?(None\b|[A-Z]\w+\.[A-Z]|side\b)",
        "None and members of an enum: equal means identical",
    ),
    Skip("", "_Is_LtE$", r"\bis Side\.BUY", "of the two sides only BUY is not above BUY"),
    Skip(
        "core/(refusals|outcome)",
        "NumberReplacer",
        "status: int = 200",
        "every status that the table does not name counts the same",
    ),
)


class Mutant(NamedTuple):
    """One way to break a module."""

    line: int
    operator: str
    before: str
    after: str
    code: str


class MutantFinder(MetaPathFinder, Loader):
    """Hands ``import`` another text for one module."""

    def __init__(self, module: str, code: str) -> None:
        self.name = "polyexec." + module.removesuffix(".py").replace("/", ".")
        self.path = str(SOURCE / module)
        self.code = code
        self.was_asked = False

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Answer for the one module."""
        if fullname != self.name:
            return None
        return spec_from_loader(fullname, self, origin=self.path)

    def exec_module(self, module: ModuleType) -> None:
        """Run the other text."""
        self.was_asked = True
        exec(compile(self.code, self.path, "exec"), module.__dict__)


def mutants_of(module: str) -> Iterator[Mutant]:
    """Yield every mutant of a module that can be compiled and is not skipped."""
    from cosmic_ray.ast import ast_nodes, get_ast  # noqa: PLC0415 - a moment, and no test needs it
    from cosmic_ray.mutating import mutate_code  # noqa: PLC0415
    from cosmic_ray.plugins import get_operator, operator_names  # noqa: PLC0415

    source = (SOURCE / module).read_text()
    lines = source.splitlines()
    nodes = list(ast_nodes(get_ast(source)))
    for name in operator_names():
        kind = get_operator(name)
        if kind.arguments():
            continue
        starts = [start for node in nodes for start, _ in kind().mutation_positions(node)]
        for occurrence, (line, _) in enumerate(starts):
            before = lines[line - 1].strip()
            if any(
                re.search(skip.module, module)
                and re.search(skip.operator, name)
                and re.search(skip.line, before)
                for skip in SKIPS
            ):
                continue
            try:
                code = mutate_code(source, kind(), occurrence)
            except AttributeError:
                continue  # cosmic-ray writes no other name for a dotted exception
            changed = code.splitlines()
            after = changed[line - 1].strip() if line <= len(changed) else ""
            yield Mutant(line, name.removeprefix("core/"), before, after, code)


def run_tests(
    module: str, tests: Sequence[str], code: str, most_cpu_s: int, most_wait_s: int
) -> int:
    """Run the tests on another text of a module; return pytest's exit code. For a child."""
    import pytest  # noqa: PLC0415

    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (most_cpu_s, most_cpu_s))
    signal.alarm(most_wait_s)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    if module.startswith("_pure"):
        # The library runs on the twin; tests that compare import the compiled one by its name.
        os.environ["POLYEXEC_NO_EXTENSIONS"] = "1"
    finder = MutantFinder(module, code)
    sys.meta_path.insert(0, finder)
    status = int(pytest.main([*PYTEST, *(f"tests/{test}" for test in tests)]))
    return status if finder.was_asked else int(pytest.ExitCode.USAGE_ERROR)


def start(work: Callable[[], int]) -> int:
    """Fork a child that leaves with what ``work`` returns; return its process id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        status = work()
    finally:
        os._exit(status)


def survivors(
    target: Target, mutants: Sequence[Mutant], jobs: int
) -> tuple[list[Mutant], list[Mutant]]:
    """Return the mutants that no test noticed, and those that never came to an end."""
    limits = limits_of(target)
    waiting = list(reversed(mutants))
    running: dict[int, Mutant] = {}
    alive, endless = [], []
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            running[start(functools.partial(run_tests, *target, mutant.code, *limits))] = mutant
        pid, status = os.wait()
        mutant = running.pop(pid)
        if status == 0:
            alive.append(mutant)
        elif os.WIFSIGNALED(status) and os.WTERMSIG(status) in ENDLESS:
            endless.append(mutant)
    return sorted(alive), sorted(endless)


def limits_of(target: Target) -> tuple[int, int]:
    """Return the seconds of processor and of waiting that a mutant is given.

    They follow from the tests on the module as it is, so that a busy machine kills no mutant.
    """
    code = (SOURCE / target.module).read_text()
    began = time.monotonic()
    _, status, usage = os.wait4(start(functools.partial(run_tests, *target, code, 3600, 3600)), 0)
    if status:
        raise SystemExit(f"{target.module}: its tests fail, or do not import it, unchanged")
    cpu_s = PATIENCE * (usage.ru_utime + usage.ru_stime)
    wait_s = 4 * PATIENCE * (time.monotonic() - began)
    return max(LEAST_CPU_S, math.ceil(cpu_s)), max(LEAST_WAIT_S, math.ceil(wait_s))


def prepare() -> None:
    """Import what all children share, and make the property tests the same in each."""
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    for name in SHARED_MODULES:
        importlib.import_module(name)
    from hypothesis import HealthCheck, Phase, settings  # noqa: PLC0415

    settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),  # a failure need not be shrunk
        suppress_health_check=(HealthCheck.too_slow,),  # a busy machine kills no mutant
    )
    settings.load_profile("mutation")
    importlib.import_module("polyexec")
    for name in list(sys.modules):
        # A compiled module can be imported once; none of them is broken here.
        if name.partition(".")[0] == "polyexec" and not name.startswith("polyexec._fast"):
            del sys.modules[name]
    gc.freeze()


def report(target: Target, options: argparse.Namespace) -> tuple[int, int]:
    """Run one target and print what survived; return how many mutants ran and how many died."""
    began = time.monotonic()
    mutants = list(mutants_of(target.module))
    notes = ""
    if options.sample and len(mutants) > options.sample:
        notes = f", sampled from {len(mutants)}"
        mutants = random.Random(options.seed).sample(mutants, options.sample)
    alive, endless = survivors(target, mutants, options.jobs)
    for mutant in alive:
        print(f"{target.module}:{mutant.line}: {mutant.operator}: {mutant.after}")
    killed = len(mutants) - len(alive)
    percent = 100 * killed / len(mutants)
    for mutant in endless:
        print(f"{target.module}:{mutant.line}: endless, counts as killed: {mutant.after}")
    notes += f", {time.monotonic() - began:.0f} s"
    print(f"{target.module} {killed}/{len(mutants)} {percent:.1f} %{notes}", flush=True)
    return len(mutants), killed


def main() -> int:
    """Run every target and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="part of a module's path")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--sample", type=int, default=0, help="at most so many mutants of a module")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    options = parser.parse_args()
    targets = [target for target in TARGETS if options.only in target.module]
    if not targets:
        parser.error(f"--only {options.only}: no module, of {[t.module for t in TARGETS]}")
    prepare()
    scores = [report(target, options) for target in targets]
    mutants, killed = (sum(column) for column in zip(*scores, strict=True))
    print(f"mutants={mutants} killed={killed} percent={100 * killed / mutants:.1f}")
    return 0 if all(100 * dead >= LEAST_PERCENT * total for total, dead in scores) else 1


if __name__ == "__main__":
    sys.exit(main())
