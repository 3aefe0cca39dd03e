from collections.abc import Sequence
from typing import SupportsIndex

def group_size(legs: Sequence[tuple[SupportsIndex, ...]], wanted_micro: SupportsIndex) -> int: ...
