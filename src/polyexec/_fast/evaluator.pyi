from collections.abc import Sequence
from typing import Any, NoReturn, Self, SupportsIndex, final

from polyexec._fast.prices import PriceTable
from polyexec._pure.evaluator import COUNTED as COUNTED
from polyexec._pure.evaluator import Found as Found

@final
class Evaluator:
    def __new__(
        cls,
        table: PriceTable,
        *,
        min_profit_micro: SupportsIndex,
        min_profit_bps: SupportsIndex,
        cooldown_ns: SupportsIndex,
        max_size_micro: SupportsIndex,
        max_age_ns: SupportsIndex,
        is_immediate: bool = True,
    ) -> Self: ...
    def add(self, form: Any) -> int: ...
    def remove(self, number: SupportsIndex) -> None: ...
    def touched(self, slot: SupportsIndex, now_ns: SupportsIndex) -> tuple[Found, ...]: ...
    def apply_changes(
        self,
        changes: Sequence[Any],
        time_ms: SupportsIndex | str,
        received_ns: SupportsIndex,
    ) -> tuple[tuple[tuple[int, int], ...], tuple[Found, ...]]: ...
    def counts(self) -> dict[str, int]: ...
    def __len__(self) -> int: ...
    def __reduce__(self) -> NoReturn: ...
