"""Long work in parts, for a thread beside one that trades."""

import time
from typing import Final

__all__ = ["breathe"]

_BREATH_S: Final = 0.0001


def breathe() -> None:
    """Let go of the interpreter's lock: whoever submits waits for one part of the work at most."""
    time.sleep(_BREATH_S)
