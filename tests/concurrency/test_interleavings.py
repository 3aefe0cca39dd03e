"""The lock-free protocols of ``_fast.ledger`` and ``_fast.gate``, in every order of their steps.

The operations below are those functions, instruction by instruction. Each has a wrong variant, to
show that a missing step would be seen.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.concurrency.interleavings import (
    LOCK,
    UNLOCK,
    Violation,
    Words,
    add,
    explore,
    fetch_add,
    load,
    move,
    store,
    swap,
)

# Money: c_reserve, c_release, c_spend, c_update, c_recover ----------------------------------------


def reserve(hold: str, *claims: tuple[str, int], wrong: str = "", counted: bool = False) -> Any:
    """Claim assets, tokens first; the amounts become the words of a hold. Return if it did."""
    for asset, micro in claims:
        if (yield load(f"{asset} available")) < micro:
            return False
    if counted:
        yield add(("at work", 1))
    for number, (asset, micro) in enumerate(claims):
        available = yield load(f"{asset} available")
        while available >= micro:
            if wrong == "store":
                yield store(f"{asset} available", available - micro)
                break
            done, available = yield move(f"{asset} available", available, available - micro)
            if done:
                break
        else:
            for earlier, taken in claims[:number]:
                if wrong != "keep":
                    yield add((f"{earlier} available", taken))
            if counted:
                yield add(("at work", -1), ("finished", 1))
            return False
    for asset, micro in claims:
        if wrong != "unheld":
            yield add((f"{asset} held", micro))
    for asset, micro in claims:
        yield store(f"{hold} {asset}", micro)
    if counted:
        yield add(("at work", -1), ("finished", 1))
    return True


def release(hold: str, asset: str, wrong: str = "", counted: bool = False) -> Any:
    """Return what was still held."""
    if counted:
        yield add(("at work", 1))
    if wrong == "look":
        micro = yield load(f"{hold} {asset}")
        yield store(f"{hold} {asset}", 0)
    else:
        micro = yield swap(f"{hold} {asset}", 0)
    if micro and wrong == "early":
        yield add((f"{asset} available", micro))
        yield add((f"{asset} held", -micro))
    elif micro:
        yield add((f"{asset} held", -micro))
        yield add((f"{asset} available", micro))
    if counted:
        yield add(("at work", -1), ("finished", 1))
    return micro


def release_mine(*results: Any, index: int, hold: str, assets: str, wrong: str = "") -> Any:
    """End what an earlier operation of this thread reserved, if it did."""
    if not results[index]:
        yield load("lock")
        return 0
    freed = 0
    for asset in assets:
        freed += yield from release(hold, asset, wrong)
    return freed


def spend(hold: str, asset: str, micro: int) -> Any:
    """Return if it was held."""
    yield LOCK
    held = yield load(f"{hold} {asset}")
    while held and held >= micro:
        done, held = yield move(f"{hold} {asset}", held, held - micro)
        if done:
            yield add((f"{asset} held", -micro))
            yield add((f"{asset} out", micro))
            yield UNLOCK
            return micro
    yield UNLOCK
    return 0


def update(asset: str, settled: int, wrong: str = "") -> Any:
    """A balance that contains what was pending."""
    yield LOCK
    before, out = (yield load(f"{asset} settled")), (yield load(f"{asset} out"))
    change = settled - before
    if wrong == "overwrite":
        held = yield load(f"{asset} held")
        yield store(f"{asset} available", settled - held)
        yield add((f"{asset} settled", change), (f"{asset} out", -out))
    else:
        yield add(
            (f"{asset} available", change + out),
            (f"{asset} settled", change),
            (f"{asset} out", -out),
        )
    yield UNLOCK
    return change + out


def recover(hold: str, asset: str, micro: int) -> Any:
    yield LOCK
    available = yield load(f"{asset} available")
    done = False
    while not done:
        done, available = yield move(f"{asset} available", available, available - micro)
    yield add((f"{asset} held", micro))
    yield store(f"{hold} {asset}", micro)
    yield UNLOCK
    return True


def check(assets: str, holds: tuple[str, ...], wrong: str = "") -> Any:
    """Return the verdict on what was read: None when somebody was at work."""
    yield LOCK
    before = (yield load("at work")), (yield load("finished"))
    is_sound = True
    for asset in assets:
        total = 0
        for hold in holds:
            total += yield load(f"{hold} {asset}")
        held = yield load(f"{asset} held")
        settled, out = (yield load(f"{asset} settled")), (yield load(f"{asset} out"))
        available = yield load(f"{asset} available")
        is_sound &= held == total and available == settled - held - out
    after = (yield load("at work")), (yield load("finished"))
    yield UNLOCK
    if wrong == "sure" or (before == after and before[0] == 0):
        return is_sound
    return None


def op(function: Any, *arguments: Any, **options: Any) -> Any:
    """An operation that does not look at what its thread did before."""
    return lambda *results: function(*arguments, **options)


def money(assets: dict[str, int], holds: tuple[str, ...]) -> dict[str, int]:
    words = {"at work": 0, "finished": 0}
    for asset, settled in assets.items():
        words |= {f"{asset} settled": settled, f"{asset} available": settled}
        words |= {f"{asset} held": 0, f"{asset} out": 0}
        words |= {f"{hold} {asset}": 0 for hold in holds}
    return words


def bound(words: Words, asset: str) -> int:
    """What the holds themselves say, and what was spent of them."""
    holds = sum(words[name] for name in words if name[0].isupper() and name[2:] == asset)
    return int(holds + words[f"{asset} out"])


def never_too_much(words: Words, assets: str = "ab") -> bool:
    """What is available is never more than what is left of the balance."""
    return all(
        words[f"{asset} available"]
        <= words[f"{asset} settled"]
        - max(bound(words, asset), words[f"{asset} held"] + words[f"{asset} out"])
        and words[f"{asset} held"] >= 0
        for asset in assets
        if f"{asset} settled" in words
    )


def nothing_over_reserved(words: Words) -> bool:
    """Without refreshes, so much that what is available stays at or above 0."""
    return never_too_much(words) and all(
        words[name] >= 0 for name in words if name.endswith("available")
    )


def adds_up(words: Words, results: Any = None) -> bool:
    """At rest the words are the definition."""
    for asset in "ab":
        if f"{asset} settled" not in words:
            continue
        held = bound(words, asset) - words[f"{asset} out"]
        left = words[f"{asset} settled"] - held - words[f"{asset} out"]
        if words[f"{asset} held"] != held or words[f"{asset} available"] != left:
            return False
    return bool(words["at work"] == 0)


def three_that_reserve(wrong: str = "") -> int:
    """Three threads, four operations each, on a balance that covers one and a half of them."""
    programs = [
        [
            op(reserve, name, ("a", 2), wrong=wrong),
            partial(release_mine, index=0, hold=name, assets="a", wrong=wrong),
            op(reserve, name, ("a", 1), wrong=wrong),
            partial(release_mine, index=2, hold=name, assets="a", wrong=wrong),
        ]
        for name in "XYZ"
    ]
    return explore(
        money({"a": 3}, ("X", "Y", "Z")),
        programs,
        always=nothing_over_reserved,
        finally_=lambda words, _: adds_up(words) and words["a available"] == 3,
    )


def two_assets_at_once(wrong: str = "") -> int:
    """All of two assets or none, against one that wants the second only."""
    return explore(
        money({"a": 2, "b": 2}, ("X", "Y", "Z")),
        [
            [
                op(reserve, "X", ("a", 2), ("b", 1), wrong=wrong),
                partial(release_mine, index=0, hold="X", assets="ab", wrong=wrong),
                op(reserve, "X", ("a", 1), ("b", 1), wrong=wrong),
                partial(release_mine, index=2, hold="X", assets="ab", wrong=wrong),
            ],
            [
                op(reserve, "Y", ("a", 1), ("b", 2), wrong=wrong),
                partial(release_mine, index=0, hold="Y", assets="ab", wrong=wrong),
            ],
            [op(reserve, "Z", ("b", 1), wrong=wrong), op(release, "Z", "b", wrong=wrong)] * 2,
        ],
        always=nothing_over_reserved,
        finally_=lambda words, _: adds_up(words) and words["a available"] == 2,
    )


def one_hold_ended_by_three(wrong: str = "") -> int:
    """A hold of 5: two free it and one spends parts of it, while a fourth wants what is freed."""
    words = money({"a": 5}, ("X", "Y"))
    words |= {"X a": 5, "a held": 5, "a available": 0}

    def once(words: Words, results: list[tuple[Any, ...]]) -> bool:
        freed = results[0][0] + results[1][0]
        spent = sum(results[2])
        return freed + spent == 5 and adds_up(words)

    return explore(
        words,
        [
            [op(release, "X", "a", wrong=wrong)],
            [op(release, "X", "a", wrong=wrong)],
            [op(spend, "X", "a", 2), op(spend, "X", "a", 1), op(spend, "X", "a", 2)],
            [op(reserve, "Y", ("a", 2), wrong=wrong), op(reserve, "Y", ("a", 9))],
        ],
        always=nothing_over_reserved,
        finally_=once,
    )


def refreshes_meanwhile(wrong: str = "") -> int:
    """Balances that go down and up, and a recovered hold, between reserve, spend and release."""
    return explore(
        money({"a": 3}, ("X", "Y", "Z")),
        [
            [
                op(reserve, "X", ("a", 2), wrong=wrong),
                op(spend, "X", "a", 1),
                op(release, "X", "a", wrong=wrong),
            ],
            [op(update, "a", 1, wrong), op(update, "a", 4, wrong), op(recover, "Z", "a", 2)],
            [
                op(reserve, "Y", ("a", 1), wrong=wrong),
                op(release, "Y", "a", wrong=wrong),
                op(reserve, "Y", ("a", 2), wrong=wrong),
            ],
        ],
        always=never_too_much,
        finally_=lambda words, _: adds_up(words) and words["a settled"] == 4,
    )


def checks_meanwhile(wrong: str = "") -> int:
    """A check never accuses sound words; when nobody is at work, it has a verdict."""
    holds = ("X", "Y")
    return explore(
        money({"a": 3}, holds),
        [
            [
                op(reserve, "X", ("a", 2), counted=True),
                op(release, "X", "a", counted=True),
            ],
            [
                op(reserve, "Y", ("a", 1), counted=True),
                op(release, "Y", "a", counted=True),
            ],
            [op(check, "a", holds, wrong), op(check, "a", holds, wrong)],
        ],
        always=nothing_over_reserved,
        finally_=lambda _, results: False not in results[2],
    )


# Places: take_place, give_place, enter and c_drop -------------------------------------------------


def take_place(wrong: str = "") -> Any:
    turn, head = yield load("free")
    while head:
        after = yield load(f"next {head}")
        turn_then = turn if wrong == "turn" else turn + 1
        done, (turn, head_now) = yield move("free", (turn, head), (turn_then, after))
        if done:
            # begin_hold: nobody may have it, and whoever looks for open holds may come now.
            users = yield swap(f"users {head}", 2)
            assert users == 0, f"place {head} had {users} users"
            return head
        head = head_now
    return 0


def give_place(place: int, wrong: str = "") -> Any:
    turn, head = yield load("free")
    while True:
        yield store(f"next {place}", head)
        turn_then = turn if wrong == "turn" else turn + 1
        done, (turn, head) = yield move("free", (turn, head), (turn_then, place))
        if done:
            return


def drop(place: int, wrong: str = "") -> Any:
    if (yield fetch_add(f"users {place}", -1)) == 1:
        yield from give_place(place, wrong)


def end_mine(*results: Any, index: int, wrong: str = "") -> Any:
    """Close the hold, then forget the handle: the two references, one after the other."""
    place = results[index]
    if not place:
        yield load("lock")
        return
    yield from drop(place, wrong)
    yield from drop(place, wrong)


def visit(place: int, wrong: str = "") -> Any:
    """Enter a hold as ``open_reservations`` does, and leave it."""
    users = yield load(f"users {place}")
    while users:
        if wrong == "barge":
            yield add((f"users {place}", 1))
            break
        done, users = yield move(f"users {place}", users, users + 1)
        if done:
            break
    else:
        return
    yield from drop(place, wrong)


def places_come_and_go(wrong: str = "") -> int:
    def all_are_free(words: Words, results: Any) -> bool:
        found, place = set(), words["free"][1]
        while place and place not in found:
            found.add(place)
            place = words[f"next {place}"]
        return found == {1, 2} and place == 0 and words["users 1"] == words["users 2"] == 0

    return explore(
        {"free": (0, 1), "next 1": 2, "next 2": 0, "users 1": 0, "users 2": 0},
        [
            [op(take_place, wrong), partial(end_mine, index=0, wrong=wrong)],
            [
                op(take_place, wrong),
                op(take_place, wrong),
                partial(end_mine, index=0, wrong=wrong),
                partial(end_mine, index=1, wrong=wrong),
            ],
            [op(visit, 1, wrong)],
        ],
        finally_=all_are_free,
    )


# The gate: c_enter, c_stamp, c_leave, set_enabled -------------------------------------------------

COOLDOWN = 10


def enter(now: int, most: int, wrong: str = "") -> Any:
    left, inside, enabled = yield load("gate")
    while True:
        if not enabled or inside >= most:
            return False
        stamped = yield load("stamped")
        if stamped >= 0 and now - stamped < COOLDOWN:
            return False
        seen = (left, inside, enabled)
        done, (left, inside, enabled) = yield move("gate", seen, (left, inside + 1, enabled))
        if done:
            return True


def pass_gate(now: int, most: int, wrong: str = "") -> Any:
    """Enter, stamp and leave; return what became of it."""
    if not (yield from enter(now, most)):
        return "refused"
    stamped = yield load("stamped")
    result = "cooling"
    while not stamped >= 0 or now - stamped >= COOLDOWN:
        done, stamped = yield move("stamped", stamped, now)
        if done:
            result = "stamped"
            break
    gone = 0 if wrong == "uncounted" else 1
    word = yield load("gate")
    while True:
        left, inside, enabled = word
        done, word = yield move("gate", word, (left + gone, inside - 1, enabled))
        if done:
            return result


def switch_off() -> Any:
    word = yield load("gate")  # fetch_and, as a loop: no weaker
    while True:
        done, word = yield move("gate", word, (*word[:2], False))
        if done:
            break
    yield store("off", True)


def enter_and_tell(now: int, most: int) -> Any:
    was_off = yield load("off")
    return was_off and (yield from enter(now, most))


def three_at_the_gate(wrong: str = "", most: int = 1) -> int:
    """Each comes twice within one cooldown: one stamps, and one place means no surprise later."""

    def one_stamps(words: Words, results: list[tuple[Any, ...]]) -> bool:
        told = [word for thread in results for word in thread]
        return told.count("stamped") == 1 and (most > 1 or "cooling" not in told)

    return explore(
        {"gate": (0, 0, True), "stamped": -1},
        [[op(pass_gate, now, most, wrong), op(pass_gate, now, most, wrong)] for now in (5, 6, 7)],
        always=lambda words: 0 <= words["gate"][1] <= most,
        finally_=one_stamps,
    )


def test_none_enters_after_the_switch_went_off() -> None:
    states = explore(
        {"gate": (0, 0, True), "stamped": -1, "off": False},
        [
            [op(switch_off)],
            [op(enter_and_tell, 5, 9)] * 3,
            [op(enter_and_tell, 5, 9)] * 3,
        ],
        finally_=lambda words, results: True not in {*results[1], *results[2]},
    )
    assert states > 50


MODELS: list[tuple[Callable[..., int], int, tuple[str, ...]]] = [
    (three_that_reserve, 10_000, ("store", "early", "unheld")),
    (two_assets_at_once, 5_000, ("store", "keep", "unheld")),
    (one_hold_ended_by_three, 1_000, ("look", "unheld")),
    (refreshes_meanwhile, 5_000, ("store", "overwrite", "unheld")),
    (checks_meanwhile, 5_000, ("sure",)),
    (places_come_and_go, 1_000, ("turn", "barge")),
    (three_at_the_gate, 900, ("uncounted",)),
]


@pytest.mark.parametrize(
    ("model", "least"), [pytest.param(m, n, id=m.__name__) for m, n, _ in MODELS]
)
def test_every_order_of_the_steps_is_right(model: Callable[..., int], least: int) -> None:
    states = model()
    print(f"{model.__name__}: {states} states")
    assert states >= least


@pytest.mark.parametrize(
    ("model", "wrong"),
    [pytest.param(m, w, id=f"{m.__name__}-{w}") for m, _, wrongs in MODELS for w in wrongs],
)
def test_a_wrong_step_is_found(model: Callable[..., int], wrong: str) -> None:
    with pytest.raises(AssertionError):
        model(wrong)


def test_of_several_that_enter_together_one_stamps() -> None:
    assert three_at_the_gate(most=2) > 1_000


def test_a_thread_that_keeps_the_lock_is_found() -> None:
    def take() -> Any:
        yield LOCK

    with pytest.raises(Violation, match="nobody can go on"):
        explore({}, [[op(take)], [op(take)]], finally_=lambda *_: True)
