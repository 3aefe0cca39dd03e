"""Layer 0 twice: compiled and readable, for tests that run over both."""

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from polyexec import _impl

NAMES = [name for name in _impl.__all__ if name != "IMPLEMENTATION"]


def load(kind: str) -> Any:
    """Return one implementation's functions, or None where it was not built."""
    modules = []
    for module in _impl.MODULES:
        try:
            modules.append(importlib.import_module(f"polyexec._{kind}.{module}"))
        except ModuleNotFoundError:
            return None
    return SimpleNamespace(
        **{
            name: getattr(module, name)
            for name in NAMES
            for module in modules
            if hasattr(module, name)
        }
    )


def face_of(face: type, functions: Any) -> Any:
    """Return a class of ``core`` over the other implementation of its base."""
    body = {name: value for name, value in vars(face).items() if name != "__dict__"}
    return type(face.__name__, (getattr(functions, face.__base__.__name__),), body)


PURE = load("pure")
FAST = load("fast")
NOT_BUILT = pytest.mark.skipif(FAST is None, reason="the extensions are not built")
# For what has no twin: not built, or switched off.
COMPILED = pytest.mark.skipif(
    _impl.IMPLEMENTATION != "fast", reason="the compiled code is not in use"
)
BOTH = [
    pytest.param(PURE, id="pure"),
    pytest.param(FAST, id="fast", marks=NOT_BUILT),
]


def use(monkeypatch: pytest.MonkeyPatch, functions: Any) -> None:
    """Make the library run on one implementation."""
    for name in NAMES:
        monkeypatch.setattr(_impl, name, getattr(functions, name))
