"""The closed vocabulary: the exchange's spellings, and which states mean what."""

import pytest

from polyexec.enums import (
    Generation,
    LegState,
    OrderType,
    Side,
    SignatureType,
    SkipReason,
    VenueMode,
)


def test_members_go_onto_the_wire_as_they_are() -> None:
    assert [str(member) for member in OrderType] == ["GTC", "GTD", "FOK", "FAK"]
    assert [f"{member}" for member in Side] == ["BUY", "SELL"]
    assert [int(member) for member in SignatureType] == [0, 1, 2, 3]
    assert [member.code for member in Side] == [0, 1]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_generation_is_found_by_the_text_of_its_domain_version(number: int) -> None:
    assert Generation(str(number)) is Generation(number)


@pytest.mark.parametrize("value", ["", "4", "0", "02", " 2", "2.0", None, 2.5])
def test_generation_of_another_domain_version_does_not_exist(value: object) -> None:
    with pytest.raises(ValueError, match="not a valid Generation"):
        Generation(value)


def test_immediate_types_are_those_that_never_rest() -> None:
    assert [kind for kind in OrderType if kind.is_immediate] == [OrderType.FOK, OrderType.FAK]


def test_skip_reasons_begin_with_the_nine_checks_in_their_order() -> None:
    assert [str(reason) for reason in SkipReason][:9] == [
        "TradingDisabled",
        "AlreadySubmitting",
        "CooldownActive",
        "NoCandidates",
        "InsufficientLiquidity",
        "PnlBelowThreshold",
        "InvalidSize",
        "InsufficientPosition",
        "InsufficientBalance",
    ]


@pytest.mark.parametrize(
    ("state", "is_accepted", "is_open"),
    [
        (LegState.NOT_SENT, False, False),
        (LegState.UNKNOWN, False, True),
        (LegState.REJECTED, False, False),
        (LegState.LIVE, True, True),
        (LegState.MATCHED, True, False),
        (LegState.PARTIAL, True, True),
        (LegState.DELAYED, True, True),
        (LegState.UNMATCHED, False, True),
        (LegState.CANCELLED, False, False),
        (LegState.EXPIRED, False, False),
    ],
)
def test_leg_state_says_if_it_was_taken_and_if_its_money_must_stay_held(
    state: LegState, is_accepted: bool, is_open: bool
) -> None:
    assert (state.is_accepted, state.is_open) == (is_accepted, is_open)


def test_every_leg_state_and_mode_is_its_own_name() -> None:
    for kind in (LegState, VenueMode):
        assert all(member.name == member.value for member in kind)
