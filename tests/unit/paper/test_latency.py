"""Latencies: where they come from, and that the same seed draws the same ones."""

from itertools import islice
from pathlib import Path

import pytest

from polyexec.errors import InputError
from polyexec.paper.conditions import Conditions
from polyexec.paper.latency import LatencyModel


def drawn(model: LatencyModel, count: int = 50) -> list[tuple[int, int]]:
    return list(islice(model.draws(), count))


def test_constant_is_exact_to_the_microsecond() -> None:
    assert drawn(LatencyModel.constant(1.25, 0.0015), 2) == [(1250, 2), (1250, 2)]
    assert LatencyModel.constant(1.25, 0.5).longest_ms == 2
    assert drawn(LatencyModel.constant(20.1, 0), 1) == [(20_100, 0)]  # 20.1 * 1000 is no integer


def test_pairs_stay_together_and_a_seed_draws_the_same_for_everybody() -> None:
    model = LatencyModel.empirical([(1, 10), (2, 20), (3, 30)], seed=4)
    first = drawn(model)
    assert {answer for _, answer in first} == {10_000, 20_000, 30_000}
    assert all(answer == 10 * entry for entry, answer in first)
    assert drawn(model) == first  # a second run that shares the model
    assert drawn(LatencyModel.empirical([(1, 10), (2, 20), (3, 30)], seed=5)) != first


def test_round_trips_are_split_and_none_is_lost(tmp_path: Path) -> None:
    lines, array = tmp_path / "rtts.txt", tmp_path / "rtts.json"
    lines.write_text("11.5\n\n3\n")
    array.write_text("[11.5, 3]")
    numbers = LatencyModel.from_rtts([11.5, 3])
    assert numbers == LatencyModel.from_rtts(lines) == LatencyModel.from_rtts(str(array))
    assert {sum(pair) for pair in drawn(numbers)} == {11_500, 3000}
    assert drawn(LatencyModel.from_rtts([10], entry_share=0.7), 1) == [(7000, 3000)]


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "5", None, True, 10**9])
def test_what_is_no_time_is_refused(wrong: float) -> None:
    with pytest.raises(InputError, match="milliseconds"):
        LatencyModel.constant(wrong, 0)
    with pytest.raises(InputError, match=r"samples\[1\]"):
        LatencyModel.empirical([(1, 1), (0, wrong)])
    with pytest.raises(InputError, match=r"rtts\[0\]"):
        LatencyModel.from_rtts([wrong])


def test_bad_samples_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "rtts"
    for text, where in (("1\nx\n", "rtts:2"), ("[1, -2]", r"rtts\[1\]"), ("[1,", "JSON")):
        path.write_text(text)
        with pytest.raises(InputError, match=where):
            LatencyModel.from_rtts(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="no round trip"):
        LatencyModel.from_rtts(path)
    with pytest.raises(InputError, match="cannot be read"):
        LatencyModel.from_rtts(tmp_path / "absent")
    with pytest.raises(InputError, match="pair"):
        LatencyModel.empirical([(1, 2, 3)])  # type: ignore[list-item]
    with pytest.raises(InputError, match="at least one"):
        LatencyModel.empirical([])
    with pytest.raises(InputError, match="entry_share"):
        LatencyModel.from_rtts([1], entry_share=1.5)


def test_conditions_are_checked_by_name() -> None:
    for field, value in {
        "queue": "lifo",
        "reject_rate": 1.5,
        "failure_rate": -1,
        "settle_ms": 0.5,
        "delay_ms": 60_001,
        "maker_rebate": "2",
    }.items():
        with pytest.raises(InputError, match=field):
            Conditions(**{field: value})  # type: ignore[arg-type]


def test_rates_come_from_generators_of_their_own() -> None:
    def draws(name: str, **rates: object) -> list[bool]:
        chance = Conditions(seed=3, **rates).chance(name)  # type: ignore[arg-type]
        return [chance.happens() for _ in range(400)]

    alone = draws("failure_rate", failure_rate="0.25")
    assert draws("failure_rate", failure_rate="0.25", reject_rate="0.5") == alone
    assert 60 < sum(alone) < 140
    assert not any(draws("reject_rate"))
    assert all(draws("reject_rate", reject_rate=1))
