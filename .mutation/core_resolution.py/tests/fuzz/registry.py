"""The list of fuzz targets. A module in ``targets/`` adds to it by decorating a function."""

import importlib
import pkgutil
import random
from collections.abc import Callable
from dataclasses import dataclass

Body = Callable[[random.Random], object]

TARGETS: dict[str, "Target"] = {}


@dataclass(frozen=True)
class Target:
    """One thing under attack; ``body`` makes an input from its random source and uses it."""

    name: str
    body: Body
    refusals: tuple[type[BaseException], ...]

    def execute(self, case: str) -> BaseException | None:
        """Run one case; return what it raised beyond its documented refusals."""
        try:
            self.body(random.Random(case))
        except self.refusals:
            return None
        except Exception as error:  # every surprise is the finding
            return error
        return None


def target(name: str, *, refuses: tuple[type[BaseException], ...] = ()) -> Callable[[Body], Body]:
    """Register a fuzz target. ``refuses``: the exceptions that are documented for bad input."""

    def register(body: Body) -> Body:
        if name in TARGETS:
            raise ValueError(f"two fuzz targets are called {name}")
        TARGETS[name] = Target(name, body, refuses)
        return body

    return register


def load_targets() -> dict[str, Target]:
    """Import every module of ``targets/`` and return the registry."""
    from tests.fuzz import targets

    for module in pkgutil.iter_modules(targets.__path__):
        importlib.import_module(f"{targets.__name__}.{module.name}")
    return TARGETS
