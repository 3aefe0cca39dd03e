from collections.abc import Callable, Sequence
from typing import NoReturn, TypeAlias

from typing_extensions import disjoint_base

from polyexec._fast.legs import LegTable
from polyexec._fast.nonces import NoncePool

ORDER_TYPES: tuple[str, str, str, str]

_BatchLeg: TypeAlias = tuple[int, bool, str, int, int, int, int, int, int, bool]

@disjoint_base
class BatchBuilder:
    def __init__(
        self,
        sign: Callable[[bytes], bytes] | NoncePool,
        *,
        maker: bytes,
        signer: bytes,
        maker_text: str,
        signer_text: str,
        signature_type: int,
        chain_id: int,
        separators: Sequence[bytes],
        owner: str,
        builder: bytes,
    ) -> None: ...
    def build(self, legs: list[_BatchLeg], timestamp_ms: int) -> tuple[bytes, tuple[str, ...]]: ...
    def build_table(
        self, table: LegTable, timestamp_ms: int, entropy: bytes | None = None
    ) -> tuple[bytes, tuple[str, ...]]: ...
    def __reduce__(self) -> NoReturn: ...
