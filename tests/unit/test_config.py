"""Settings: where they come from, what is refused, and that no secret ever shows."""

import base64
import copy
import logging
import os
import pickle
import ssl
import sys
import traceback
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from polyexec.config import DEFAULT_CLOB_URL, ExecutorConfig, Secret
from polyexec.enums import OrderType, SignatureType
from polyexec.errors import ConfigError
from polyexec.variables import VARIABLES

KEY = "0x" + "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
OTHER_KEY = "0x" + "5d1994b7a213048e7342582c6ecc7315ff623a728193803bf579e12b40473429"
ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
CREDENTIALS = {
    "api_key": "3e1c0a7e-9b1d-4e0c-8a65-6f2f1b7d5c11",
    "api_secret": base64.urlsafe_b64encode(bytes(range(32))).decode(),
    "api_passphrase": "f00dfeedc0ffee1234567890abcdef42",
}
SECRETS = {
    "private_key": KEY,
    **CREDENTIALS,
    "telegram_bot_token": "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
}


def encodings(secret: str) -> set[str]:
    """The texts in which a secret could be recognised."""
    raw = bytes.fromhex(secret[2:]) if secret.startswith("0x") else secret.encode()
    texts = {secret, raw.hex(), "0x" + raw.hex(), str(int.from_bytes(raw, "big")), repr(raw)}
    texts |= {base64.b64encode(raw).decode().strip("=")}
    texts |= {base64.urlsafe_b64encode(raw).decode().strip("=")}
    return {text.lower() for text in texts}


def assert_hides(secret: str, *shown: str) -> None:
    for text in shown:
        for form in encodings(secret):
            assert form not in text.lower(), text


def full_config() -> ExecutorConfig:
    return ExecutorConfig(
        **SECRETS,
        redis={"REDIS_URL": "redis://:hunter2hunter2@host"},
        database={"DB_PASSWORD": "correcthorsebattery"},
    )


# from the environment -----------------------------------------------------------------------------

# variable, its text, setting, what it becomes
MISSION: list[tuple[str, str, str, Any]] = [
    ("REAL_TRADING_ENABLED", "true", "trading_enabled", True),
    ("REAL_TRADE_SIZE", "12.5", "default_size", Decimal("12.5")),
    ("SLIPPAGE_ENABLED", "1", "slippage_enabled", True),
    ("ARB_MIN_PNL_THRESHOLD", "0.25", "min_pnl_threshold_percent", Decimal("0.25")),
    ("ARB_COOLDOWN_MS", "250", "opportunity_timeout_ms", 250),
    ("ARB_MIN_PROFIT_BPS", "7.5", "min_profit_bps", Decimal("7.5")),
    ("ARB_MIN_PROFIT_ABS", "0.02", "min_profit_abs", Decimal("0.02")),
    ("ENGINE_MODE", "Off", "engine_mode", "off"),
    ("EXECUTOR_MODE", "paper", "executor_mode", "paper"),
    ("PRIVATE_KEY", KEY, "private_key", Secret(KEY)),
    ("PROXY_ADDRESS", ADDRESS, "proxy_address", ADDRESS),
    ("CLOB_URL", "https://localhost:8443/", "clob_url", "https://localhost:8443"),
    ("TELEGRAM_BOT_TOKEN", "t:1", "telegram_bot_token", Secret("t:1")),
    ("TELEGRAM_CHAT_ID", "-100", "telegram_chat_id", "-100"),
    ("SIGNER_ADDRESS", ADDRESS, "signer_address", ADDRESS),
    ("SIGNATURE_TYPE", "POLY_PROXY", "signature_type", SignatureType.POLY_PROXY),
    ("CHAIN_ID", "80002", "chain_id", 80002),
    ("BUILDER_CODE", "0x" + "AB" * 32, "builder_code", "0x" + "ab" * 32),
]


@pytest.mark.parametrize(("name", "text", "setting", "value"), MISSION, ids=lambda v: str(v)[:25])
def test_variable_sets_its_setting_and_is_named_as_the_source(
    name: str, text: str, setting: str, value: Any
) -> None:
    config = ExecutorConfig.from_env({name: f" {text} "})
    assert getattr(config, setting) == value
    assert type(getattr(config, setting)) is type(value)
    key = next(key for key, names in VARIABLES.items() if name in names)
    assert config.sources == {key: name}


def test_api_credentials_of_the_mission_are_read() -> None:
    config = ExecutorConfig.from_env(
        {f"POLYMARKET_{name.upper()}": value for name, value in CREDENTIALS.items()}
    )
    assert config.has_credentials
    for name, value in CREDENTIALS.items():
        assert getattr(config, name).reveal() == value


def test_an_empty_environment_gives_the_defaults_and_does_not_trade() -> None:
    config = ExecutorConfig.from_env({})
    assert config == ExecutorConfig()
    assert config.trading_enabled is False
    assert config.slippage_enabled is False
    assert config.default_size == 10
    assert config.min_pnl_threshold_percent == Decimal("0.1")
    assert config.opportunity_timeout_ms == 5000
    assert config.min_profit_bps == 5
    assert config.min_profit_abs == 0
    assert (config.max_in_flight, config.queue_size) == (1, 16)
    assert (config.post_timeout_s, config.warm_interval_s) == (5.0, 20.0)
    assert config.clob_url == DEFAULT_CLOB_URL
    assert config.chain_id == 137
    assert config.order_type is OrderType.GTC
    assert config.builder_code == "0x" + "00" * 32
    assert (config.engine_mode, config.executor_mode) == ("live", "live")
    assert not config.has_credentials
    assert not config.private_key
    assert config.sources == {}


def test_blank_variables_count_as_missing() -> None:
    assert ExecutorConfig.from_env({"PRIVATE_KEY": " ", "CHAIN_ID": ""}).sources == {}


def test_os_environ_is_read_when_no_mapping_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for names in VARIABLES.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REAL_TRADE_SIZE", "33")
    assert ExecutorConfig.from_env().default_size == 33
    assert "REAL_TRADE_SIZE" in os.environ


@pytest.mark.parametrize(
    ("setting", "alias"),
    [(setting, alias) for setting, names in VARIABLES.items() for alias in names[1:]],
)
def test_alias_is_read_and_a_different_value_names_both_and_shows_neither(
    setting: str, alias: str
) -> None:
    name = VARIABLES[setting][0]
    text, other = {
        "private_key": (KEY, OTHER_KEY),
        "proxy_address": (ADDRESS, ADDRESS.lower()),
        "signature_type": ("1", "2"),
        "clob_url": ("https://one.example", "https://two.example"),
        "gamma_url": ("https://one.example", "https://two.example"),
        "chain_id": ("137", "80002"),
        "builder_code": ("0x" + "11" * 32, "0x" + "22" * 32),
    }.get(setting, ("first-value-of-it", "second-value-of-it"))
    trio = dict(zip(CREDENTIALS, ("k", "s", "p"), strict=True)) if setting in CREDENTIALS else {}
    env = {VARIABLES[key][0]: value for key, value in trio.items() if key != setting}
    assert ExecutorConfig.from_env(env | {alias: text}).sources[setting] == alias
    assert ExecutorConfig.from_env(env | {alias: text, name: text}).sources[setting] == name
    with pytest.raises(ConfigError) as caught:
        ExecutorConfig.from_env(env | {alias: text, name: other})
    message = str(caught.value)
    assert name in message
    assert alias in message
    assert text not in message
    assert other not in message


def test_redis_and_database_variables_are_collected_as_secrets() -> None:
    config = ExecutorConfig.from_env(
        {"REDIS_URL": "redis://x", "REDIS_DB": "", "DB_HOST": "h", "DBX": "no", "XREDIS_A": "no"}
    )
    assert {name: value.reveal() for name, value in config.redis.items()} == {
        "REDIS_URL": "redis://x"
    }
    assert {name: value.reveal() for name, value in config.database.items()} == {"DB_HOST": "h"}
    with pytest.raises(TypeError):
        config.redis["REDIS_URL"] = Secret("y")  # type: ignore[index]


# bad values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REAL_TRADING_ENABLED", "maybe"),
        ("SLIPPAGE_ENABLED", "2"),
        ("REAL_TRADE_SIZE", "ten"),
        ("REAL_TRADE_SIZE", "nan"),
        ("REAL_TRADE_SIZE", "-10"),
        ("REAL_TRADE_SIZE", "0.0000001"),
        ("ARB_MIN_PNL_THRESHOLD", "inf"),
        ("ARB_MIN_PROFIT_BPS", "x"),
        ("ARB_MIN_PROFIT_ABS", "NaN"),
        ("ARB_COOLDOWN_MS", "1.5"),
        ("ARB_COOLDOWN_MS", "-1"),
        ("ENGINE_MODE", "on"),
        ("EXECUTOR_MODE", "python"),
        ("PROXY_ADDRESS", "0x123"),
        ("PROXY_ADDRESS", ADDRESS[2:]),
        ("SIGNER_ADDRESS", "me"),
        ("POLYMARKET_SIGNATURE_TYPE", "4"),
        ("CHAIN_ID", "1"),
        ("CHAIN_ID", "polygon"),
        ("CLOB_URL", "http://clob.polymarket.com"),
        ("CLOB_URL", "clob.polymarket.com"),
        ("CLOB_URL", "https://"),
        ("CLOB_URL", "https://host/path"),
        ("CLOB_URL", "https://host?x=1"),
        ("CLOB_URL", "https://host:99999"),
        ("CLOB_URL", "https://[::1"),
        ("CLOB_URL", "wss://host"),
        ("BUILDER_CODE", "0x12"),
    ],
)
def test_bad_variable_is_refused_by_its_name_and_value(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ExecutorConfig.from_env({name: text})
    assert str(caught.value).startswith(name)
    assert repr(text) in str(caught.value) or f"={text}:" in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("trading_enabled", "true"),
        ("slippage_enabled", 1),
        ("default_size", float("nan")),
        ("default_size", -1),
        ("default_size", True),
        ("min_pnl_threshold_percent", float("inf")),
        ("opportunity_timeout_ms", -1),
        ("opportunity_timeout_ms", 1.5),
        ("opportunity_timeout_ms", True),
        ("max_in_flight", 0),
        ("queue_size", 0),
        ("order_type", "GTD"),
        ("order_type", "IOC"),
        ("post_timeout_s", 0),
        ("post_timeout_s", float("nan")),
        ("post_timeout_s", "5"),
        ("post_timeout_s", float("inf")),
        ("warm_interval_s", -1),
        ("follow_interval_s", 0),
        ("warm_interval_s", True),
        ("chain_id", 1),
        ("chain_id", 137.0),
        ("chain_id", "137"),
        ("signature_type", 4),
        ("signature_type", True),
        ("signature_type", 1.0),
        ("engine_mode", "rust"),
        ("http2", "nghttp2"),
        ("http2", None),
        ("executor_mode", None),
        ("clob_url", None),
        ("clob_url", "http://127.0.0.1:8080"),
        ("proxy_address", 5),
        ("proxy_address", "0x" + "g" * 40),
        ("builder_code", b"x"),
        ("min_profit_abs", "nan"),
        *[(name, 123456789) for name in SECRETS],
        *[(name, None) for name in SECRETS],
    ],
    ids=repr,
)
def test_bad_setting_is_refused_by_its_name(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        ExecutorConfig(**(CREDENTIALS if setting in CREDENTIALS else {}) | {setting: value})
    assert str(caught.value).startswith(setting)
    if setting in SECRETS:
        assert str(value) not in str(caught.value) or value is None


@pytest.mark.parametrize("missing", CREDENTIALS)
def test_partial_credentials_name_what_is_missing_and_show_nothing(missing: str) -> None:
    given = {name: value for name, value in CREDENTIALS.items() if name != missing}
    with pytest.raises(ConfigError) as caught:
        ExecutorConfig(**given)
    assert str(caught.value).startswith(f"{missing}: missing")
    for value in given.values():
        assert value not in str(caught.value)


def test_boundary_values_are_taken() -> None:
    config = ExecutorConfig(
        opportunity_timeout_ms=0, warm_interval_s=86_400, post_timeout_s=0.5, signature_type="3"
    )
    assert config.opportunity_timeout_ms == 0
    assert config.warm_interval_s == 86_400
    assert config.signature_type is SignatureType.POLY_1271
    assert ExecutorConfig(clob_url="https://[::1]:8443").clob_url == "https://[::1]:8443"


def test_framing_is_a_setting() -> None:
    assert ExecutorConfig().http2 == "fast"
    assert ExecutorConfig.from_env({"HTTP2_FRAMING": "h2"}).http2 == "h2"


@pytest.mark.parametrize(("word", "mode"), [("rust", "live"), ("js", "off"), ("RUST", "live")])
@pytest.mark.parametrize("name", ["ENGINE_MODE", "EXECUTOR_MODE"])
def test_words_of_the_original_are_read_with_a_warning_at_the_callers_line(
    name: str, word: str, mode: str
) -> None:
    with pytest.warns(UserWarning, match=f"{name}={word}.*{mode!r}") as caught:
        config = ExecutorConfig.from_env({name: word})
    assert getattr(config, name.lower()) == mode
    assert caught[0].filename == __file__


def test_our_own_words_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ExecutorConfig.from_env({"ENGINE_MODE": "live", "EXECUTOR_MODE": "OFF"})


# files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIABLES["private_key"])
def test_key_is_read_from_the_file_that_its_variable_names(name: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    config = ExecutorConfig.from_env({f"{name}_FILE": str(path)})
    assert config.private_key.reveal() == KEY
    assert config.sources["private_key"] == name
    assert ExecutorConfig.from_env({f"{name}_FILE": str(path), name: KEY}) == config


def test_key_in_file_and_variable_that_differ_are_refused_without_showing_either(
    tmp_path: Path,
) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    with pytest.raises(ConfigError, match="PRIVATE_KEY and PRIVATE_KEY_FILE") as caught:
        ExecutorConfig.from_env({"PRIVATE_KEY_FILE": str(path), "PRIVATE_KEY": OTHER_KEY})
    assert_hides(KEY, str(caught.value))
    assert_hides(OTHER_KEY, str(caught.value))


@pytest.mark.parametrize("content", [None, b"", b" \n", KEY.encode() + b"\xff"])
def test_key_file_that_cannot_be_used_is_refused_and_its_content_stays_hidden(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="PRIVATE_KEY_FILE") as caught:
        ExecutorConfig.from_env({"PRIVATE_KEY_FILE": str(path)})
    # __context__ would hold the UnicodeDecodeError, which holds the bytes of the file.
    assert caught.value.__context__ is None


def test_key_given_where_a_path_belongs_is_not_shown() -> None:
    with pytest.raises(ConfigError, match="PRIVATE_KEY_FILE") as caught:
        ExecutorConfig.from_env({"PRIVATE_KEY_FILE": KEY})
    assert_hides(KEY, "".join(traceback.format_exception(caught.value)))


@pytest.mark.parametrize("name", ["PROXY_ADDRESS", "SIGNER_ADDRESS"])
@pytest.mark.parametrize("key", [KEY, KEY[2:]])
def test_key_given_where_an_address_belongs_is_not_shown(name: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*characters") as caught:
        ExecutorConfig.from_env({name: key})
    assert_hides(KEY, str(caught.value))


@pytest.mark.parametrize(
    "url", ["https://me:hunter2@host", "http://me:hunter2@host", "https://me:hunter2[@host"]
)
def test_password_in_a_url_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="clob_url") as caught:
        ExecutorConfig(clob_url=url)
    assert "hunter2" not in str(caught.value)


def test_dotenv_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(
        f"# comment\nexport PRIVATE_KEY='{KEY}'\nREAL_TRADE_SIZE=20\nARB_COOLDOWN_MS=7\nEMPTY\n"
    )
    config = ExecutorConfig.from_env({"REAL_TRADE_SIZE": "30"}, dotenv=path)
    assert config.private_key.reveal() == KEY
    assert config.default_size == 30
    assert config.opportunity_timeout_ms == 7
    assert os.environ.get("ARB_COOLDOWN_MS") is None
    assert ExecutorConfig.from_env({}, dotenv=str(path)).default_size == 20


def test_missing_dotenv_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        ExecutorConfig.from_env({}, dotenv=tmp_path / "nothing")


def test_dotenv_without_its_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "dotenv", None)
    with pytest.raises(ConfigError, match=r"polyexec\[dotenv\]"):
        ExecutorConfig.from_env({}, dotenv=tmp_path)


# secrets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SECRETS)
def test_no_way_of_printing_a_config_shows_a_secret(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    config, secret = full_config(), SECRETS[name]
    held = getattr(config, name)
    logging.getLogger("test").warning("%s %r", config, held)
    shown = [
        *(repr(config), str(config), f"{config}", f"{config!r}", f"{config.replace()}"),
        *(repr(held), str(held), f"{held}", f"{held:>20}", f"{held!s}", f"{held!r}"),
        repr({"a": [held]}),
        repr(vars(type(config))),
        repr([getattr(config, slot) for slot in type(config).__slots__]),
        repr(config._astuple()),
        caplog.text,
    ]
    assert_hides(secret, *shown)
    assert held.reveal() == secret
    assert "***" in repr(config)


def test_passwords_in_mappings_do_not_show() -> None:
    text = repr(full_config())
    assert "hunter2hunter2" not in text
    assert "correcthorsebattery" not in text
    assert "REDIS_URL" in text


@pytest.mark.parametrize(
    "ship", [pickle.dumps, copy.copy, copy.deepcopy, lambda value: pickle.dumps(value, 0)]
)
def test_config_and_secret_cannot_leave_the_process(ship: Any) -> None:
    config = full_config()
    for thing in (config, config.private_key, [config.api_secret], config.redis):
        if isinstance(thing, list) and ship is copy.copy:
            continue  # a shallow copy of a list copies no secret
        with pytest.raises(TypeError) as caught:
            ship(thing)
        for secret in SECRETS.values():
            assert_hides(secret, str(caught.value))


def test_exceptions_of_settings_never_show_a_secret() -> None:
    for change in ({"chain_id": 5}, {"default_size": "x"}, {"clob_url": "ftp://x"}):
        with pytest.raises(ConfigError) as caught:
            full_config().replace(**change)
        text = "".join(traceback.format_exception(caught.value))
        for secret in SECRETS.values():
            assert_hides(secret, text)


def test_secrets_compare_by_value_with_secrets_only() -> None:
    assert Secret("a") == Secret(Secret("a"))
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert not Secret("")
    assert not hasattr(Secret("a"), "__dict__")


# replace ------------------------------------------------------------------------------------------


def test_replace_keeps_everything_else_and_the_sources_that_still_hold() -> None:
    config = ExecutorConfig.from_env({"REAL_TRADE_SIZE": "20", "ARB_COOLDOWN_MS": "7"})
    changed = config.replace(default_size=5)
    assert changed.default_size == 5
    assert changed.opportunity_timeout_ms == 7
    assert changed.sources == {"opportunity_timeout_ms": "ARB_COOLDOWN_MS"}
    assert changed.replace(default_size=20) == config
    assert full_config().replace(chain_id=80002).api_secret.reveal() == CREDENTIALS["api_secret"]


def test_config_cannot_be_changed_and_keeps_its_trust_store() -> None:
    context = ssl.create_default_context()
    config = ExecutorConfig(ssl_context=context)
    assert config.replace(default_size=3).ssl_context is context
    with pytest.raises(AttributeError, match=r"\.replace\(trading_enabled"):
        config.trading_enabled = True


# the user channel ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "https://gamma-api.polymarket.com"),
        ({"clob_url": "https://127.0.0.1:8443"}, "https://127.0.0.1:8443"),
        ({"clob_url": "https://clob.example"}, ""),
        ({"gamma_url": "https://gamma.example/"}, "https://gamma.example"),
    ],
)
def test_metadata_url(settings: dict[str, str], expected: str) -> None:
    assert ExecutorConfig(**settings).metadata_url == expected


@pytest.mark.parametrize("url", ["http://h", "https://user@h", "https://h/path", "h", 3])
def test_gamma_url_that_is_refused(url: Any) -> None:
    with pytest.raises(ConfigError, match="gamma_url"):
        ExecutorConfig(gamma_url=url)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "wss://ws-subscriptions-clob.polymarket.com/ws"),
        ({"clob_url": "https://127.0.0.1:8443"}, "wss://127.0.0.1:8443/ws"),
        # the credentials go there as they are, so no other host is guessed
        ({"clob_url": "https://clob.example"}, ""),
        (
            {"clob_url": "https://clob.example", "ws_url": "wss://ws.example/ws/"},
            "wss://ws.example/ws",
        ),
        ({"ws_url": "wss://ws.example:1"}, "wss://ws.example:1"),
    ],
)
def test_channels_url(settings: dict[str, str], expected: str) -> None:
    assert ExecutorConfig(**settings).channels_url == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["ws://host", "https://host", "wss://", "wss://u@host", "wss://host?x", "wss://h:x", 7]
)
def test_ws_url_that_is_refused(url: Any) -> None:
    with pytest.raises(ConfigError, match="ws_url"):
        ExecutorConfig(ws_url=url)


def test_user_channel_of_an_unknown_host_needs_its_url() -> None:
    ExecutorConfig(clob_url="https://clob.example")
    with pytest.raises(ConfigError, match="ws_url: missing"):
        ExecutorConfig(clob_url="https://clob.example", user_channel=True)
    with pytest.raises(ConfigError, match="user_channel"):
        ExecutorConfig(user_channel=1)  # type: ignore[arg-type]


def test_user_channel_from_the_environment() -> None:
    config = ExecutorConfig.from_env({"USER_CHANNEL": "false", "CLOB_WS_URL": "wss://h/ws"})
    assert (config.user_channel, config.ws_url) == (False, "wss://h/ws")
    assert ExecutorConfig.from_env({}).user_channel is None
