"""Sweeps: order, failures, parts and their sums; over threads, processes and a Dask cluster."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor

import msgspec
import pytest

import polyexec as px
from polyexec.backtest import Report, Source, capacity, merged, run, sensitivity, sweep
from polyexec.backtest.lots import Resolution
from polyexec.backtest.stream import Coverage, Stamped
from tests.backtest.generated import SETTINGS, START_MS, Recorded, forms
from tests.backtest.test_report import bare, leg, trade

DAY_MS = 86_400_000
GRID = [{"latency_ms": (ms, ms)} for ms in (0, 50, 300)]


class Failing:
    """A source that is damaged."""

    name, truth = "damaged", "L2"

    def events(self) -> Iterator[Stamped]:
        raise px.InputError("damaged:17", b"{", "is not JSON")
        yield

    def coverage(self) -> Coverage:
        return Coverage()


def failing(books: object, now_ms: int) -> None:
    raise ZeroDivisionError("the strategy's own fault")


def days(count: int = 2) -> list[Source]:
    """Return a recording of the last second of one day and the first of the next ones."""
    midnight = START_MS - START_MS % DAY_MS + DAY_MS
    return [
        Recorded(rounds=2, start_ms=midnight - 1000 + DAY_MS * number) for number in range(count)
    ]


# --- failures --------------------------------------------------------------------------------


def test_a_failed_run_is_raised_with_its_parameters() -> None:
    grid = [{"seed": 1}, {"seed": 2, "strategy": "mine"}]
    with pytest.raises(TypeError):
        sweep([{"nonsense": 1}], Recorded(), forms=forms())
    grid = [{"seed": 1}, {"seed": 2, "latency_ms": (-1, 0)}]
    with pytest.raises(px.InputError, match="latency_ms") as caught:
        sweep(grid, Recorded(), forms=forms(), config=SETTINGS)
    assert caught.value.__notes__ == ["backtest run 2 of 2, seed=2, latency_ms=(-1, 0)"]


def test_a_strategys_own_fault_arrives_from_another_process_with_its_parameters() -> None:
    with ProcessPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError) as caught:
        sweep([{"seed": 3}], Recorded(), executor=pool, strategy=failing, forms=forms())
    assert "backtest run 1 of 1, seed=3" in caught.value.__notes__


class Waiting(ThreadPoolExecutor):
    """One worker that takes its first job only when all have been handed in."""

    def __init__(self, jobs: int) -> None:
        super().__init__(1)
        self.futures: list[Future] = []
        self._jobs, self._all = jobs, threading.Event()
        super().submit(self._all.wait)

    def submit(self, fn, /, *args, **kwargs):
        future = super().submit(fn, *args, **kwargs)
        self.futures.append(future)
        if len(self.futures) == self._jobs:
            self._all.set()
        return future


def test_a_failure_cancels_what_has_not_begun() -> None:
    grid = [{"latency_ms": (-1, 0)}, *({"seed": seed} for seed in range(9))]
    with Waiting(len(grid)) as pool:
        with pytest.raises(px.InputError, match="latency_ms"):
            sweep(grid, Recorded(), executor=pool, forms=forms(), config=SETTINGS)
        assert sum(future.cancelled() for future in pool.futures) >= len(grid) - 2
        assert not pool.futures[0].cancelled()


def test_a_note_shows_no_secret() -> None:
    config = {"private_key": "8" * 64, "redis": {"REDIS_PASSWORD": "hidden-word"}, "queue_size": 0}
    with pytest.raises(px.ConfigError) as caught:
        sweep([{"config": config}], Recorded(), forms=forms())
    (note,) = caught.value.__notes__
    assert "8" * 64 not in note
    assert "hidden-word" not in note
    assert "'queue_size': 0" in note


def test_bad_arguments_are_named() -> None:
    with pytest.raises(px.InputError, match="partition='week': must be 'day', 'group' or None"):
        sweep(GRID, Recorded(), partition="week", forms=forms())  # type: ignore[arg-type]
    with pytest.raises(px.InputError, match="forms"):
        sweep(GRID, Recorded(), partition="group", forms=[])
    with pytest.raises(px.InputError, match="has no event"):
        sweep(GRID, Recorded(rounds=0), partition="day", forms=forms())
    with pytest.raises(px.InputError, match="progress='yes': must be True, False or a callable"):
        sweep(GRID, Recorded(), forms=forms(), progress="yes")  # type: ignore[arg-type]
    with pytest.raises(px.InputError, match="sizes"):
        capacity(Recorded(), sizes=[], forms=forms())


# --- parts -----------------------------------------------------------------------------------


def test_forms_may_be_an_iterator() -> None:
    here = sweep(GRID, Recorded(), forms=iter(forms()), config=SETTINGS)
    assert here == sweep(GRID, Recorded(), forms=forms(), config=SETTINGS)
    assert [one.digest for one in here] == [
        run(None, Recorded(), forms=forms(), config=SETTINGS, **each).digest for each in GRID
    ]


@pytest.mark.parametrize("partition", ["day", "group"])
def test_parts_on_processes_are_the_parts_here(partition) -> None:
    common = {"forms": forms(), "config": SETTINGS, "partition": partition}
    here = sweep(GRID[1:2], days(1), **common)
    with ProcessPoolExecutor(2) as pool:
        there = sweep(GRID[1:2], days(1), executor=pool, **common)
    assert here == there
    assert any(leg.filled_micro for leg in here[0].legs)


def test_parts_by_group_are_the_groups_own_runs_summed_up() -> None:
    keys = dict.fromkeys(form.group_key for form in forms())
    own = [
        run(
            None,
            Recorded(),
            forms=[form for form in forms() if form.group_key == key],
            config=SETTINGS,
        )
        for key in keys
    ]
    (whole,) = sweep([{}], Recorded(), partition="group", forms=forms(), config=SETTINGS)
    assert len(own) > 1
    for name in ("balance_before_micro", "balance_micro", "fees_micro", "profit_micro", "events"):
        assert getattr(whole, name) == sum(getattr(one, name) for one in own), name
    assert sorted(leg.token_id for leg in whole.legs) == sorted(
        leg.token_id for one in own for leg in one.legs
    )
    assert whole == merged(own)


def test_parts_by_day_read_every_event_once() -> None:
    data = days(3)
    (whole,) = sweep([{}], data, partition="day", forms=forms(), config=SETTINGS)
    assert whole.events == sum(1 for source in data for _ in source.events())
    # Each recording crosses midnight: four days.
    assert whole.balance_before_micro == 4 * 10_000_000_000
    times = [one.time_ms for one in whole.trades]
    assert times == sorted(times)
    assert {time // DAY_MS for time in times} == {whole.first_ms // DAY_MS + n for n in range(4)}


def test_a_part_without_books_is_told_and_does_not_stop_the_others() -> None:
    few = Recorded(trios=40)
    (whole,) = sweep([{}], few, partition="group", forms=forms(), config=SETTINGS)
    assert whole.partial
    assert all(text.endswith("no snapshot of a book that the forms name") for text in whole.partial)
    assert whole.is_partial
    with pytest.raises(px.InputError, match="no snapshot"):
        sweep([{}], Recorded(trios=1), partition="group", forms=forms()[-4:], config=SETTINGS)


def test_a_damaged_source_is_told_in_a_partition_too() -> None:
    with pytest.raises(px.InputError, match="damaged:17"):
        sweep([{}], Failing(), partition="group", forms=forms(), config=SETTINGS)
    with pytest.raises(px.InputError, match="damaged:17"):
        sweep([{}], Failing(), partition="day", forms=forms(), config=SETTINGS)


# --- merging ---------------------------------------------------------------------------------


def test_merging_renumbers_and_keeps_every_row() -> None:
    one = bare(
        trades=(trade(0, time_ms=5), trade(1, time_ms=9)),
        legs=(leg(0, token_id="a"), leg(1, token_id="b"), leg(1, token_id="c")),
    )
    other = bare(trades=(trade(0, time_ms=7),), legs=(leg(0, token_id="d"),))
    whole = merged([one, other])
    assert [(row.number, row.time_ms) for row in whole.trades] == [(0, 5), (1, 7), (2, 9)]
    assert [(row.trade, row.token_id) for row in whole.legs] == [
        (0, "a"),
        (1, "d"),
        (2, "b"),
        (2, "c"),
    ]


def test_a_position_of_one_day_is_resolved_by_what_another_saw() -> None:
    monday = bare(unresolved=(("1", 5_000_000), ("2", 7)), resolved_micro=3)
    told = Resolution(time_ms=START_MS + DAY_MS, token_id="1", pays_micro=500_000)
    tuesday = bare(unresolved=(("2", 5),), resolutions=(told,))
    whole = merged([monday, tuesday])
    assert whole.resolved_micro == 3 + 2_500_000
    assert whole.unresolved == (("2", 12),)
    assert whole.resolutions == (told,)


def test_days_that_contradict_each_other_are_refused() -> None:
    parts = [
        bare(resolutions=(Resolution(time_ms=1, token_id="1", pays_micro=pays),))
        for pays in (0, 1_000_000)
    ]
    with pytest.raises(px.InputError, match="pays 0 micro-dollars in one part, 1000000 in another"):
        merged(parts)


def test_one_part_is_itself_and_none_is_refused() -> None:
    assert merged([bare()]) == bare()
    with pytest.raises(px.InputError, match="reports"):
        merged([])


def test_the_digest_is_that_of_the_parts_in_their_order() -> None:
    one, other = bare(), bare(digest="1" * 64)
    assert merged([one, other]).digest == merged([one, other]).digest
    assert merged([one, other]).digest != merged([other, one]).digest


def test_a_report_survives_its_way_as_json() -> None:
    report = run(None, Recorded(), forms=forms(), config=SETTINGS)
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


# --- studies and progress --------------------------------------------------------------------


def test_studies_are_the_runs_at_each_value() -> None:
    common = {"forms": forms(), "config": SETTINGS}
    study = sensitivity(Recorded(), latencies_ms=[0, 300], **common)
    assert [one.digest for one in study.reports] == [
        run(None, Recorded(), latency_ms=(ms, ms), **common).digest for ms in (0, 300)
    ]
    sizes = capacity(Recorded(), sizes=["5", 50], **common)
    larger = run(None, Recorded(), forms=forms(), config={**SETTINGS, "default_size": 50})
    assert sizes.reports[1].digest == larger.digest
    assert sizes.rows()[1].turnover_micro > sizes.rows()[0].turnover_micro
    kept = px.ExecutorConfig(private_key="1" * 64, **SETTINGS)
    assert capacity(Recorded(), sizes=[5, 50], forms=forms(), config=kept) == sizes
    assert str(sizes).splitlines()[0].startswith("size, shares per leg")
    assert "<td>50</td>" in sizes._repr_html_()


def test_a_study_has_frames() -> None:
    pandas = pytest.importorskip("pandas")
    study = sensitivity(Recorded(), latencies_ms=[0, 20], forms=forms(), config=SETTINGS)
    frame = study.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["value"].tolist() == [0.0, 20.0]
    assert study.to_polars().to_dicts() == study.to_arrow().to_pylist()


def test_progress_counts_runs_and_events() -> None:
    told: list[tuple[int, int | None]] = []
    sweep(
        GRID,
        Recorded(),
        forms=forms(),
        config=SETTINGS,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    told.clear()
    report = run(
        None,
        Recorded(rounds=8),
        forms=forms(),
        config=SETTINGS,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (report.events, None)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) > 1


def test_a_bar_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    sweep(GRID[:1], Recorded(), forms=forms(), config=SETTINGS, progress=True)
    assert "backtest: 100%" in capsys.readouterr().err


# --- a cluster -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the cluster's own libraries
def test_a_sweep_over_a_dask_cluster_is_the_sweep_here() -> None:
    distributed = pytest.importorskip("distributed")
    here = sweep(GRID[:2], days(1), forms=forms(), config=SETTINGS, partition="day")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = client.get_executor()
        common = {"forms": forms(), "config": SETTINGS, "executor": executor}
        there = sweep(GRID[:2], days(1), partition="day", **common)
        with pytest.raises(px.InputError, match="latency_ms") as caught:
            sweep([GRID[0], {"latency_ms": (-1, 0)}], Recorded(), **common)
    assert here == there
    assert any("run 2 of 2, latency_ms=(-1, 0)" in note for note in caught.value.__notes__)
