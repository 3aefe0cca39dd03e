"""The command line, on settings that a person would type."""

import json
from pathlib import Path

import pytest

from polyexec.cli import main
from tests.unit.journal.database import support

KEY = "0x" + "21" * 32


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVATE_KEY", KEY)


@pytest.mark.parametrize(
    ("arguments", "maker", "taker"),
    [
        (["1", "BUY", "0.45", "10"], "4500000", "10000000"),
        (["1", "SELL", "0.45", "10"], "10000000", "4500000"),
        (["1", "BUY", "0.45", "10.5", "--order-type", "FOK"], "4720000", "10488800"),
        (["1", "SELL", "0.45", "10", "--order-type", "FAK"], "10000000", "4500000"),
    ],
)
def test_sign_prints_the_body_of_an_order(
    arguments: list[str], maker: str, taker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sign", *arguments]) == 0
    order = json.loads(capsys.readouterr().out)["order"]
    assert (order["makerAmount"], order["takerAmount"]) == (maker, taker)
    assert len(order["signature"]) == 132


def test_sign_refuses_a_price_off_the_tick(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sign", "1", "BUY", "0.455", "10"]) == 2
    captured = capsys.readouterr()
    assert "price='0.455'" in captured.err
    assert captured.out == ""


def test_a_missing_key_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PRIVATE_KEY")
    assert main(["sign", "1", "BUY", "0.45", "10"]) == 2
    assert "PRIVATE_KEY" in capsys.readouterr().err


def test_submit_says_that_trading_is_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXECUTOR_MODE", "paper")
    assert main(["submit", "1", "BUY", "0.45", "10"]) == 1
    assert "skipped TradingDisabled" in capsys.readouterr().out


def test_submit_prints_what_became_of_the_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXECUTOR_MODE", "paper")
    monkeypatch.setenv("REAL_TRADING_ENABLED", "true")
    # the embedded exchange is empty: no money
    assert main(["submit", "1", "BUY", "0.45", "10"]) == 1
    assert "skipped InsufficientBalance" in capsys.readouterr().out


def test_build_info_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build-info"]) == 0
    assert json.loads(capsys.readouterr().out)["implementation"] in {"fast", "pure"}


def test_doctor_without_settings_runs_and_is_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PRIVATE_KEY")
    assert main(["doctor"]) == 0
    report = capsys.readouterr().out
    assert "throwaway key" in report
    assert report.endswith("\nNothing is wrong.\n")


def test_doctor_prints_one_json_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXECUTOR_MODE", "paper")
    monkeypatch.setenv("SIGNATURE_TYPE", "0")
    monkeypatch.setenv("PROXY_ADDRESS", "0x" + "12" * 20)
    assert main(["doctor", "--json"]) == 1
    captured = capsys.readouterr()
    found = {each["check"]: each for each in json.loads(captured.out)["findings"]}
    assert found["wallet"]["verdict"] == "problem"
    assert "PROXY_ADDRESS" in found["wallet"]["advice"]
    assert found["latency"]["verdict"] == "ok"
    assert KEY[2:] not in captured.out + captured.err


def test_doctor_reports_settings_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PK", "0x" + "22" * 32)
    assert main(["doctor"]) == 1
    report = capsys.readouterr().out
    assert "PRIVATE_KEY and PK are both set" in " ".join(report.split())
    assert "2222" not in report


def test_doctor_turns_old_words_into_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXECUTOR_MODE", "js")
    assert main(["doctor"]) == 0
    report = " ".join(capsys.readouterr().out.split())
    assert "EXECUTOR_MODE=js is the original system's word; read as 'off'" in report


def test_doctor_does_not_take_other_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["doctor", "--trade"])
    assert exit_.value.code == 2
    assert "--trade" in capsys.readouterr().err


def test_trades_are_shown_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trades.db"
    with support.store(path, tmp_path) as store:
        store.put_result(support.result(1, 2))
        store.put_group(support.final(support.result(3)))
        store.put_result(support.rejected(4))
        store.put_result(support.skipped(legs=()))
        assert store.flush()
    monkeypatch.setenv("DB_URL", str(path))
    monkeypatch.delenv("PRIVATE_KEY")
    assert main(["trades"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "4 trades"
    shown = "\n".join(lines)
    assert "executed  POLYMARKET_COMPLEMENT_BUY  cost 4.01234  expected 0.987654" in shown
    assert "final 0.99" in shown
    assert "rejected  POLYMARKET_COMPLEMENT_BUY  cost 0  expected 0  no orders found" in shown
    assert "skipped   POLYMARKET_COMPLEMENT_BUY  PnlBelowThreshold: 0.05 % is below 0.1 %" in shown
    assert main(["trades", "--sent", "--limit", "2", "--csv", str(tmp_path / "out.csv")]) == 0
    assert capsys.readouterr().out == "2 trades\n"
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3


def test_trades_that_cannot_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXECUTOR_MODE", "paper")
    assert main(["trades"]) == 2
    assert "no database: give --url" in capsys.readouterr().err
    assert main(["trades", "--url", str(tmp_path / "no.db")]) == 2
    assert "no.db: cannot be asked: there is no such file" in capsys.readouterr().err
    assert main(["trades", "--url", "x.db", "--since", "soon"]) == 2
    assert "since='soon': must be a time" in capsys.readouterr().err
