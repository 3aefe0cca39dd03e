"""The compiled plan asks for the memory of its results and for nothing else."""

from pathlib import Path
from typing import Any

import pytest

import polyexec as px
from polyexec import _impl
from polyexec.core.auth import L2Signer
from tests import compiled
from tests.implementations import NOT_BUILT

pytestmark = [NOT_BUILT, pytest.mark.slow]

KEY = "0x" + "35" * 32


@pytest.fixture(scope="module")
def allocations(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("counter")
    return compiled.build(Path(__file__).with_name("counter.pyx"), folder).allocations


def quotes() -> tuple[px.Quote, ...]:
    return tuple(
        px.Quote(10**70 + n, "", "0.30", "0.31", 500, 500, tick_size="0.01", fee_rate="0.07")
        for n in range(3)
    )


def test_the_counter_counts(allocations: Any) -> None:
    assert allocations(b"0".__mul__, (1000,))[0] == 1
    assert allocations(lambda: None, ())[0] == 0
    assert allocations(lambda: [bytes(1000), bytes(2000), [b"0"]], ())[0] >= 3


def test_pricing_allocates_the_table(allocations: Any) -> None:
    count, table = allocations(_impl.price_quotes, (quotes(), (0, 0, 0), 10_000_000, 0, False))
    assert table.fault == 0
    assert count <= 1  # none when a table that was dropped is used again


@pytest.mark.parametrize("presign", [0, 8], ids=["deterministic", "prepared"])
@pytest.mark.parametrize("kind", [0, 3])
def test_signing_and_encoding_allocate_the_body_and_the_ids(
    allocations: Any, presign: int, kind: int
) -> None:
    signer = px.OrderSigner(KEY, signature_type=kind, presign=presign)
    builder = signer.batch_builder(owner="fe0d4178-bd63-47ca-895b", builder="0x" + "00" * 32)
    table = _impl.price_quotes(quotes(), (0, 0, 0), 10_000_000, 0, False)
    count, (body, ids) = allocations(builder.build_table, (table, 1_790_000_000_000))
    signer.close()
    assert len(body) > 2000
    # the body and three ids; the two tuples that hold them may come from Python's free lists
    assert 4 <= count <= 6
    assert len(ids) == 3


def test_the_hmac_allocates_its_text(allocations: Any) -> None:
    signer = L2Signer("0x" + "11" * 20, px.ApiCredentials("key", "c2VjcmV0", "passphrase"))
    body = bytes(2300)
    count, text = allocations(signer._key.sign, ("1790000000", "POST", "/orders", body))
    assert (count, len(text)) == (1, 44)
