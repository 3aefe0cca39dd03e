"""Limits and group policy are refused where they are written, by name."""

import pickle
from decimal import Decimal
from typing import Any

import pytest

from polyexec.config import ExecutorConfig
from polyexec.enums import GroupStep, OrderType
from polyexec.errors import ConfigError, InputError
from polyexec.policies import GroupPolicy, RiskLimits


def test_nothing_is_sent_for_half_a_group_unless_asked() -> None:
    assert GroupPolicy().steps == (GroupStep.HOLD,)
    assert GroupPolicy().level == "off"


@pytest.mark.parametrize(
    "steps",
    [
        "complete,unwind",
        " Complete , unwind",
        ["complete", GroupStep.UNWIND],
        ("complete", "unwind"),
    ],
)
def test_steps_are_read_as_people_write_them(steps: Any) -> None:
    assert GroupPolicy(steps).steps == (GroupStep.COMPLETE, GroupStep.UNWIND)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", ""),
        ("steps", []),
        ("steps", "unwind,unwind"),
        ("steps", "hold,unwind"),
        ("steps", "hedge"),
        ("steps", [None]),
        ("attempts", 0),
        ("attempts", True),
        ("attempts", 101),
        ("attempts", 1.0),
        ("complete_band", -1),
        ("complete_band", 1),
        ("complete_band", "0.00001"),
        ("unwind_band", "nan"),
        ("max_extra_cost", -1),
        ("level", "both"),
        ("patience_ms", -1),
        ("patience_ms", None),
        ("order_type", "FOK"),
        ("order_type", "IOC"),
    ],
)
def test_a_bad_policy_is_refused_by_field(field: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        GroupPolicy(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_group_cost", -1),
        ("max_daily_cost", "nan"),
        ("max_open_exposure", True),
        ("max_legging_loss", "x"),
        ("max_unknown_groups", 0),
        ("max_unknown_groups", None),
        ("max_submits_per_second", 0),
        ("max_submits_per_second", 10_001),
        ("max_quote_age_ms", -1),
        ("max_quote_age_ms", 1.5),
    ],
)
def test_a_bad_limit_is_refused_by_field_also_as_a_setting(field: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        RiskLimits(**{field: value})
    assert caught.value.field == field
    with pytest.raises(ConfigError, match=f"^{field}="):
        ExecutorConfig(**{field: value})


def test_records_read_back_as_decimals_and_survive_a_copy() -> None:
    policy = GroupPolicy("complete", 3, "0.02", "1.5", 0, "buy", 0, "GTC")
    assert (policy.complete_band, policy.max_extra_cost) == (Decimal("0.02"), Decimal("1.5"))
    assert (policy.unwind_band, policy.order_type) == (0, OrderType.GTC)
    limits = RiskLimits(1, 2, 3, "0.5", 4, 5, 6)
    assert limits.max_legging_loss == Decimal("0.5")
    assert (limits.max_group_cost, limits.max_daily_cost, limits.max_open_exposure) == (1, 2, 3)
    for record in (policy, limits):
        assert record.replace() == record
        assert pickle.loads(pickle.dumps(record)) == record
    assert RiskLimits().max_group_cost is None


def test_settings_of_the_executor_come_from_arguments_and_variables() -> None:
    config = ExecutorConfig(max_group_cost="1.5", group_policy="unwind", sell_policy="skip")
    assert config.max_group_cost == Decimal("1.5")
    assert config.limits == RiskLimits(max_group_cost="1.5")
    assert config.group_policy == GroupPolicy("unwind")
    assert config.replace(max_daily_cost=9).limits == RiskLimits("1.5", 9)
    given = ExecutorConfig.from_env(
        {
            "MAX_GROUP_COST": "1",
            "MAX_DAILY_COST": "2",
            "MAX_OPEN_EXPOSURE": "3",
            "MAX_LEGGING_LOSS": "0.5",
            "MAX_UNKNOWN_GROUPS": "4",
            "MAX_SUBMITS_PER_SECOND": "5",
            "MAX_QUOTE_AGE_MS": "6",
            "GROUP_POLICY": "complete, unwind",
            "SELL_POLICY": "buy_complement",
        }
    )
    assert given.limits == RiskLimits(1, 2, 3, "0.5", 4, 5, 6)
    assert given.group_policy == GroupPolicy("complete,unwind")
    assert given.sell_policy == "buy_complement"
    assert given.max_quote_age_ms == 6


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAX_GROUP_COST", "-1"), ("MAX_UNKNOWN_GROUPS", "0"), ("GROUP_POLICY", "x")],
)
def test_a_bad_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}"):
        ExecutorConfig.from_env({name: value})


@pytest.mark.parametrize("value", ["x", 5, None, ["hold", "complete"]])
def test_a_bad_group_policy_is_a_config_error(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^group_policy="):
        ExecutorConfig(group_policy=value)
