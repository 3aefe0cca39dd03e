"""The mode machine: what answers tell, who stands down, and the way back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyexec.core.outcome import SentLeg, classify
from polyexec.core.ports import Answer, NoAnswer
from polyexec.core.venue_mode import (
    POST_ONLY_AFTER_RESTART_MS,
    ModeNews,
    VenueModeChange,
    VenueModes,
    mode_news,
)
from polyexec.enums import OrderType, Side, SkipReason, VenueMode
from polyexec.errors import OutcomeUnknownError
from polyexec.models import OrderId

IDS = [OrderId("0x" + f"{n:064x}") for n in (1, 2)]
LEGS = [
    SentLeg(
        order_id=order_id,
        side=Side.BUY,
        order_type=OrderType.GTC,
        maker_micro=4_000_000,
        taker_micro=10_000_000,
    )
    for order_id in IDS
]
POST_ONLY_TEXT = "post-only mode: only post-only orders and cancels are allowed"
CANCEL_ONLY_TEXT = (
    "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed."
)
PROCESSED = ModeNews(None)
TOOK_POST_ONLY = ModeNews(None, took_order=True)
NORMAL = ModeNews(VenueMode.NORMAL)


def news(status: int, body: Any, *, takes: bool = True, **headers: str) -> ModeNews | None:
    answer = Answer(status=status, body=json.dumps(body).encode(), headers=headers)
    return mode_news(answer, classify(LEGS, answer), takes=takes)


def leg(error: str = "", order_id: str = "", status: str = "") -> dict[str, Any]:
    return {"success": True, "errorMsg": error, "orderID": order_id, "status": status}


# what an answer tells -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "mode"),
    [
        (425, {"error": "Too Early"}, VenueMode.RESTARTING),
        (425, {}, VenueMode.RESTARTING),
        (503, {"error": "Trading is currently disabled, ..."}, VenueMode.DISABLED),
        (503, {"error": "trading is disabled"}, VenueMode.DISABLED),
        (503, {"error": CANCEL_ONLY_TEXT}, VenueMode.CANCEL_ONLY),
        (503, {"error": POST_ONLY_TEXT, "code": "post_only_mode"}, VenueMode.POST_ONLY),
    ],
)
def test_a_refused_batch_names_the_mode(status: int, body: Any, mode: VenueMode) -> None:
    told = news(status, body)
    assert told is not None
    assert told.mode is mode


def test_the_time_to_wait_is_in_the_body_or_the_header() -> None:
    told = news(503, {"error": POST_ONLY_TEXT, "retry_after_seconds": 79})
    assert told == ModeNews(VenueMode.POST_ONLY, 79_000, POST_ONLY_TEXT)
    told = news(425, {"error": "Too Early"}, **{"retry-after": "30"})
    assert told == ModeNews(VenueMode.RESTARTING, 30_000, "Too Early")


def test_in_a_batch_the_mode_comes_per_leg() -> None:
    body = [leg(order_id=IDS[0], status="live"), leg(POST_ONLY_TEXT)]
    assert news(200, body) == ModeNews(VenueMode.POST_ONLY, None, POST_ONLY_TEXT)
    body = [leg(CANCEL_ONLY_TEXT), leg(CANCEL_ONLY_TEXT)]
    assert news(200, body) == ModeNews(VenueMode.CANCEL_ONLY, None, CANCEL_ONLY_TEXT)
    told = news(200, [leg("Trading is currently disabled")] * 2)
    assert told is not None
    assert told.mode is VenueMode.DISABLED


def test_what_proves_that_orders_are_taken() -> None:
    accepted = [leg(order_id=order_id, status="live") for order_id in IDS]
    told = news(200, accepted)
    assert told is not None
    assert told.mode is VenueMode.NORMAL
    assert news(200, accepted, takes=False) == TOOK_POST_ONLY
    killed = news(200, [leg("order couldn't be fully filled. FOK orders are fully filled")] * 2)
    assert killed is None  # half a text is not the text
    killed = news(
        200, [leg("order couldn't be fully filled. FOK orders are fully filled or killed.")] * 2
    )
    assert killed is not None
    assert killed.mode is VenueMode.NORMAL


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, [leg("invalid signature"), leg("not enough balance / allowance")]),
        (200, [leg(order_id=IDS[0], status="unmatched"), leg("invalid signature")]),
        (400, {"error": "Invalid order payload"}),
        (401, {"error": "Unauthorized/Invalid api key"}),
        (429, {"error": "slow down"}),
        (500, {"error": "could not insert order"}),
        (503, "<html>"),
    ],
)
def test_what_tells_nothing(status: int, body: Any) -> None:
    assert news(status, body) is None


def test_no_answer_tells_nothing() -> None:
    lost = NoAnswer(error=OutcomeUnknownError("lost"))
    assert mode_news(lost, classify(LEGS, lost), takes=True) is None


# who stands down ----------------------------------------------------------------------------------


def entered(mode: VenueMode, **options: Any) -> VenueModes:
    modes = VenueModes(**options)
    modes.heard(ModeNews(mode, None, "words"), sent_ms=0, now_ms=0)
    return modes


@pytest.mark.parametrize("takes", [True, False])
def test_normal_stops_nobody(takes: bool) -> None:
    assert VenueModes().refusal(0, takes=takes) is None


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (VenueMode.RESTARTING, SkipReason.VENUE_RESTARTING),
        (VenueMode.POST_ONLY, SkipReason.VENUE_POST_ONLY),
        (VenueMode.CANCEL_ONLY, SkipReason.VENUE_CANCEL_ONLY),
        (VenueMode.DISABLED, SkipReason.VENUE_DISABLED),
    ],
)
def test_takers_stand_down_with_the_fitting_reason(mode: VenueMode, reason: SkipReason) -> None:
    modes = entered(mode)
    skip = modes.refusal(1, takes=True)
    assert skip is not None
    assert skip.reason is reason
    assert skip.detail.startswith("words; asked again in")
    quotes = modes.refusal(1, takes=False)
    assert (quotes is None) == (mode is VenueMode.POST_ONLY)


@pytest.mark.parametrize("mode", [m for m in VenueMode if m is not VenueMode.NORMAL])
def test_one_group_at_a_time_is_let_through_as_a_probe(mode: VenueMode) -> None:
    modes = entered(mode)
    at = modes.next_probe_ms
    assert modes.refusal(at - 1, takes=True) is not None
    assert modes.refusal(at, takes=True) is None
    assert modes.refusal(at, takes=True) is not None
    assert modes.next_probe_ms > at


def test_a_probed_restart_lets_no_order_through() -> None:
    modes = entered(VenueMode.RESTARTING, is_probed=True)
    for takes in (True, False):
        skip = modes.refusal(10**9, takes=takes)
        assert skip is not None
        assert skip.detail == "words; asked again now"


# the way back -------------------------------------------------------------------------------------


def test_after_a_restart_takers_wait_for_the_post_only_phase() -> None:
    changes: list[VenueModeChange] = []
    modes = entered(VenueMode.RESTARTING, is_probed=True, on_change=changes.append)
    modes.heard(PROCESSED, sent_ms=5_000, now_ms=5_010)
    assert modes.mode is VenueMode.POST_ONLY
    assert modes.next_probe_ms >= 5_010 + POST_ONLY_AFTER_RESTART_MS
    assert modes.refusal(5_020, takes=False) is None
    assert modes.refusal(5_010 + POST_ONLY_AFTER_RESTART_MS - 1, takes=True) is not None
    at = modes.next_probe_ms
    assert modes.refusal(at, takes=True) is None
    modes.heard(NORMAL, sent_ms=at, now_ms=at + 20)
    assert modes.mode is VenueMode.NORMAL
    assert [(c.old, c.new) for c in changes] == [
        (VenueMode.NORMAL, VenueMode.RESTARTING),
        (VenueMode.RESTARTING, VenueMode.POST_ONLY),
        (VenueMode.POST_ONLY, VenueMode.NORMAL),
    ]


def test_what_was_presumed_gives_way_to_what_the_exchange_says() -> None:
    modes = entered(VenueMode.RESTARTING)
    modes.heard(PROCESSED, sent_ms=1, now_ms=1)
    told = ModeNews(VenueMode.POST_ONLY, 20_000, "words")
    assert modes.heard(told, sent_ms=2, now_ms=10) is None
    assert 20_010 <= modes.next_probe_ms <= 25_010


def test_a_cancel_that_works_says_nothing_of_cancel_only() -> None:
    for mode in (VenueMode.CANCEL_ONLY, VenueMode.DISABLED, VenueMode.POST_ONLY):
        modes = entered(mode)
        assert modes.heard(PROCESSED, sent_ms=1, now_ms=1) is None
        assert modes.mode is mode


@pytest.mark.parametrize("mode", [VenueMode.CANCEL_ONLY, VenueMode.DISABLED])
def test_an_accepted_post_only_order_does_not_prove_that_takers_pass(mode: VenueMode) -> None:
    modes = entered(mode)
    modes.heard(TOOK_POST_ONLY, sent_ms=1, now_ms=1)
    assert modes.mode is VenueMode.POST_ONLY
    assert modes.refusal(1, takes=True) is not None


def test_news_of_older_requests_change_nothing() -> None:
    modes = VenueModes()
    modes.heard(ModeNews(VenueMode.RESTARTING), sent_ms=100, now_ms=120)
    # accepted before the restart, answered after it was known
    assert modes.heard(NORMAL, sent_ms=99, now_ms=130) is None
    assert modes.mode is VenueMode.RESTARTING
    modes.heard(NORMAL, sent_ms=200, now_ms=210)
    assert modes.heard(ModeNews(VenueMode.RESTARTING), sent_ms=150, now_ms=220) is None
    assert modes.mode is VenueMode.NORMAL


def test_many_answers_of_one_moment_are_one_failure() -> None:
    modes = VenueModes()
    for _ in range(20):
        modes.heard(ModeNews(VenueMode.DISABLED), sent_ms=10, now_ms=50)
    assert modes.next_probe_ms <= 50 + 5_000 * 5 // 4


@pytest.mark.parametrize("mode", [m for m in VenueMode if m is not VenueMode.NORMAL])
def test_the_pauses_grow_to_a_limit(mode: VenueMode) -> None:
    modes, pauses = entered(mode), []
    for _ in range(12):
        at = modes.next_probe_ms
        assert modes.refusal(at, takes=True) is None
        modes.heard(ModeNews(mode), sent_ms=at, now_ms=at)
        pauses.append(modes.next_probe_ms - at)
    assert pauses[0] < pauses[-1] <= 75_000
    modes.heard(NORMAL, sent_ms=10**9, now_ms=10**9)
    modes.heard(ModeNews(mode), sent_ms=10**9, now_ms=10**9)
    assert modes.next_probe_ms - 10**9 < pauses[-1]


def test_a_probe_without_an_answer_is_put_off() -> None:
    modes = entered(VenueMode.RESTARTING, is_probed=True)
    at = modes.next_probe_ms
    modes.probe_failed(at)
    assert modes.next_probe_ms > at
    modes.heard(NORMAL, sent_ms=at, now_ms=at)
    before = modes.next_probe_ms
    modes.probe_failed(at + 10**6)
    assert modes.next_probe_ms == before


def test_an_absurd_time_to_wait_is_not_believed() -> None:
    modes = VenueModes()
    modes.heard(ModeNews(VenueMode.POST_ONLY, 86_400_000), sent_ms=0, now_ms=0)
    assert modes.next_probe_ms <= 375_000


def test_the_schedule_follows_from_the_seed_alone() -> None:
    def schedule(seed: int) -> list[int]:
        modes, times = entered(VenueMode.DISABLED, seed=seed), []
        for _ in range(5):
            times.append(modes.next_probe_ms)
            modes.refusal(modes.next_probe_ms, takes=True)
        return times

    assert schedule(7) == schedule(7)
    assert len({tuple(schedule(seed)) for seed in range(50)}) == 50


NEWS = st.one_of(
    st.sampled_from([PROCESSED, TOOK_POST_ONLY, NORMAL]),
    st.builds(
        ModeNews,
        st.sampled_from([m for m in VenueMode if m is not VenueMode.NORMAL]),
        st.none() | st.integers(0, 10**7),
    ),
)


@given(
    seed=st.integers(0, 2**64 - 1),
    is_probed=st.booleans(),
    steps=st.lists(
        st.tuples(st.integers(0, 100_000), st.integers(0, 2000), NEWS | st.booleans()), max_size=40
    ),
)
def test_takers_pass_in_normal_mode_or_as_the_one_probe(
    seed: int, is_probed: bool, steps: list[tuple[int, int, ModeNews | bool]]
) -> None:
    modes = VenueModes(seed=seed, is_probed=is_probed)
    now, known = 10_000, 0
    for pause, travel, step in steps:
        now += pause
        if isinstance(step, ModeNews):
            sent, before = now - travel, modes.mode
            change = modes.heard(step, sent_ms=sent, now_ms=now)
            assert (change is not None) == (modes.mode is not before)
            if sent < known:
                assert modes.mode is before
            known = max(known, sent)
            continue
        mode, due = modes.mode, modes.next_probe_ms
        passes = modes.refusal(now, takes=step) is None
        if mode is VenueMode.NORMAL or (mode is VenueMode.POST_ONLY and not step):
            assert passes
        elif passes:
            assert now >= due
            assert modes.next_probe_ms > now
            assert not (is_probed and mode is VenueMode.RESTARTING)
        # Nobody is locked out for ever: the next look is at most some minutes away.
        if modes.mode is not VenueMode.NORMAL:
            assert modes.next_probe_ms - now <= 375_000
