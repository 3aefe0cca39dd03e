"""The command line: ``polyexec --help`` explains each command in a line."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import TextIOWrapper
from pathlib import Path

from polyexec.account import build_signer
from polyexec.build import build_info
from polyexec.commands import COMMANDS, request_of
from polyexec.config import (
    DEFAULT_WS_URL,
    ExecutorConfig,
    default_control_folder,
    named_control_socket,
)
from polyexec.core.amounts import limit_amounts, market_amounts
from polyexec.core.orders import Amounts, Order, encode_order
from polyexec.enums import Generation, OrderType
from polyexec.errors import ConfigError, InputError, PolyexecError
from polyexec.logs import set_up_logging
from polyexec.models import Leg
from polyexec.numbers import from_micro
from polyexec.signals import LegsSignal
from polyexec.sync import Executor as SyncExecutor

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except PolyexecError as error:
        print(f"polyexec: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="polyexec", description="Execution for Polymarket bots.")
    commands = parser.add_subparsers(required=True, metavar="command")

    demo = commands.add_parser("demo", help="trade a generated market on a local paper exchange")
    demo.add_argument("--seed", type=int, default=1, help="of the generated market")
    demo.add_argument("--steps", type=int, default=400, help="updates of the generated market")
    demo.add_argument("--replay", type=Path, help="recorded quotes or frames instead")
    demo.add_argument("--quiet", action="store_true", help="only the closing table")
    demo.set_defaults(run=_demo)

    replay = commands.add_parser("replay", help="trade recorded markets on a local paper exchange")
    replay.add_argument("replay", type=Path, help="file or folder")
    replay.add_argument("--quiet", action="store_true", help="only the closing table")
    replay.set_defaults(run=_demo, seed=1, steps=0)

    doctor = commands.add_parser("doctor", help="say in words what is wrong before money moves")
    doctor.add_argument("--json", action="store_true", help="one JSON document instead")
    doctor.add_argument("--dotenv", type=Path, help="read settings from this file too")
    doctor.set_defaults(run=_doctor)

    run = commands.add_parser(
        "run", help="watch the markets and trade them: what ENGINE_MODE and EXECUTOR_MODE say"
    )
    run.add_argument("--paper", action="store_true", help="both on an embedded paper exchange")
    run.add_argument("--seconds", type=float, help="stop after so long; otherwise at Ctrl-C")
    run.add_argument("--seed", type=int, default=1, help="of the paper exchange's market")
    run.add_argument(
        "--signals", default="-", help="with ENGINE_MODE=off: file of JSON signals, - for stdin"
    )
    run.add_argument(
        "--on-exit", choices=("cancel", "keep"), default="cancel", help="what of open orders"
    )
    run.add_argument(
        "--account",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="one of several, with the settings of that .env file",
    )
    run.add_argument("--ui", action="store_true", help="a dashboard instead of lines")
    run.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="warning",
        help="what the log on standard error tells; info: every trade",
    )
    run.add_argument("--log-json", action="store_true", help="the log as JSON lines")
    run.add_argument("--dotenv", type=Path, help="read settings from this file too")
    run.set_defaults(run=_run)

    control = commands.add_parser("control", help="command a running bot of this user")
    control.add_argument("what", choices=COMMANDS, metavar="COMMAND", help=", ".join(COMMANDS))
    control.add_argument("argument", nargs="?", help="of halt: the reason; of reduce-only: on, off")
    control.add_argument("--socket", type=Path, help="of the bot; otherwise the one that runs")
    control.add_argument("--all", action="store_true", help="every bot that runs")
    control.add_argument("--account", default="", help="one of its accounts; otherwise all")
    control.set_defaults(run=_control)

    sign = commands.add_parser("sign", help="sign an order and print the body of POST /order")
    _add_order_arguments(sign)
    sign.set_defaults(run=_sign)

    submit = commands.add_parser(
        "submit", help="send one order to the exchange of the settings and print what happened"
    )
    _add_order_arguments(submit)
    submit.set_defaults(run=_submit)

    record = commands.add_parser("record", help="write down what the market channel sends")
    record.add_argument("--tokens", nargs="+", default=[], metavar="ID", help="token ids")
    record.add_argument("--tokens-file", type=Path, help="token ids, one a line")
    record.add_argument("--out", type=Path, required=True, help="folder of the files")
    record.add_argument("--rotate-minutes", type=float, default=60.0, help="until the next file")
    record.add_argument("--url", default=DEFAULT_WS_URL, help="root of the channels")
    record.set_defaults(run=_record)

    trades = commands.add_parser("trades", help="show or export the trades that were stored")
    trades.add_argument("--since", help="from this time on: 2026-01-31, 2026-01-31T12:00+00:00")
    trades.add_argument("--until", help="before this time")
    trades.add_argument("--group", help="only this group key")
    trades.add_argument("--sent", action="store_true", help="leave out what was skipped")
    trades.add_argument("--limit", type=int, help="the newest so many")
    trades.add_argument("--url", help="of the database, instead of the settings'")
    trades.add_argument("--csv", type=Path, help="write them to this file instead")
    trades.add_argument("--parquet", type=Path, help="write them to this file instead")
    trades.add_argument("--dotenv", type=Path, help="read settings from this file too")
    trades.set_defaults(run=_trades)
    backtest = commands.add_parser(
        "backtest", help="replay recordings through the live code and report what would have traded"
    )
    _add_backtest_arguments(backtest)
    backtest.set_defaults(run=_backtest)

    build = commands.add_parser("build-info", help="which compiled parts and libraries are in use")
    build.set_defaults(run=_build_info)
    return parser


def _add_order_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("token_id")
    parser.add_argument("side", choices=("BUY", "SELL"))
    parser.add_argument("price")
    parser.add_argument("size")
    parser.add_argument("--tick-size", default="0.01")
    parser.add_argument("--order-type", default="GTC", choices=("GTC", "FOK", "FAK"))
    parser.add_argument("--neg-risk", action="store_true")
    parser.add_argument("--generation", default="2", choices=("1", "2", "3"))
    parser.add_argument("--dotenv", type=Path, help="read settings from this file too")


def _add_backtest_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="recordings")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--forms", type=Path, help="what to evaluate: written by --save-forms")
    given.add_argument(
        "--metadata",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="find it in Gamma events and order book records, JSON or JSON lines",
    )
    parser.add_argument(
        "--delay", help="with --metadata: suppose this of markets without a record: none, taker"
    )
    parser.add_argument("--overrides", default="", help="with --metadata: TOML corrections to it")
    parser.add_argument("--save-forms", type=Path, help="write down what is evaluated")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the executor, as default_size=50; may be repeated",
    )
    parser.add_argument("--balance", default="10000", help="dollars at the start")
    parser.add_argument("--latency", default="20,20", help="ms there, and back; or one for both")
    parser.add_argument("--seed", type=int, default=0, help="of the account")
    parser.add_argument("--latencies", help="run at these latencies too, as 0,50,200")
    parser.add_argument("--sizes", help="run at these sizes too, as 10,50,200")
    parser.add_argument("--processes", type=int, default=1, help="for --latencies and --sizes")
    parser.add_argument("--progress", action="store_true", help="a bar; needs tqdm")
    parser.add_argument("--html", type=Path, help="write a page with plots")
    parser.add_argument("--json", action="store_true", help="one JSON document instead")


def _demo(options: argparse.Namespace) -> int:
    from polyexec.demo.run import run_demo  # noqa: PLC0415  the exchange is needed here only

    summary = asyncio.run(
        run_demo(seed=options.seed, steps=options.steps, replay=options.replay, quiet=options.quiet)
    )
    return 0 if summary.reconciled and not summary.unknown else 1


def _doctor(options: argparse.Namespace) -> int:
    """Examine what the settings describe; nothing is sent that could cost money."""
    from polyexec.doctor import examine_environment  # noqa: PLC0415  it loads what others do not

    diagnosis = examine_environment(options.dotenv)
    print(diagnosis.to_json() if options.json else diagnosis)
    return 0 if diagnosis.is_well else 1


def _run(options: argparse.Namespace) -> int:
    """Run until told to stop; REAL_TRADING_ENABLED must say true for a live executor to trade."""
    from polyexec.bot import read_lines, run_bot  # noqa: PLC0415  it loads what others do not
    from polyexec.dashboard import open_dashboard  # noqa: PLC0415

    if isinstance(sys.stdout, TextIOWrapper):  # a pipe would get the lines by the kilobyte
        sys.stdout.reconfigure(line_buffering=True)
    set_up_logging(options.log_level, as_json=options.log_json)
    if options.account:
        return _run_several(options)
    read = _reader(options, options.dotenv)
    summary = asyncio.run(
        run_bot(
            read(),
            seconds=options.seconds,
            seed=options.seed,
            lines=read_lines(options.signals),
            on_exit=options.on_exit,
            read=read,
            watch=open_dashboard if options.ui else None,
        )
    )
    print(summary.last_line())
    return 0


def _run_several(options: argparse.Namespace) -> int:
    from polyexec.bots import run_bots  # noqa: PLC0415  it loads what others do not

    if options.dotenv is not None or options.ui:
        raise InputError("--account", options.account, "does not go with --dotenv or --ui")
    readers = {}
    for account in options.account:
        name, _, path = account.partition("=")
        if not (name and path) or name in readers:
            raise InputError("--account", account, "must be NAME=FILE, each name once")
        readers[name] = _reader(options, Path(path))
    summaries = asyncio.run(
        run_bots(readers, seconds=options.seconds, seed=options.seed, on_exit=options.on_exit)
    )
    for name, summary in summaries.items():
        print(f"{name}: {summary.last_line()}")
    return 0


def _reader(options: argparse.Namespace, dotenv: Path | None) -> Callable[[], ExecutorConfig]:
    """Return what reads the settings of a run, now and at every reload."""

    def read() -> ExecutorConfig:
        config = ExecutorConfig.from_env(dotenv=dotenv)
        if options.paper:
            config = config.replace(engine_mode="paper", executor_mode="paper")
        return config

    return read


def _control(options: argparse.Namespace) -> int:
    """Ask running bots; reads no setting but CONTROL_SOCKET, so that none can be in the way."""
    from polyexec.control_socket import ask, find_socket, find_sockets  # noqa: PLC0415  here only

    request = request_of(options.what, options.argument, account=options.account)
    folder = Path(default_control_folder())
    if options.all:
        paths = find_sockets(folder)
    else:
        named = options.socket or named_control_socket()
        paths = [Path(named).expanduser() if named else find_socket(folder)]
    # Side by side: one that does not answer must not keep the others from a halt.
    with ThreadPoolExecutor(max(1, len(paths))) as pool:
        answers = [pool.submit(ask, path, request) for path in paths]
    status = 0 if paths else 1
    for answer in answers:
        try:
            print(json.dumps(answer.result(), indent=2))
        except PolyexecError as error:
            print(f"polyexec: {error}", file=sys.stderr)
            status = 1
    return status


def _sign(options: argparse.Namespace) -> int:
    config = ExecutorConfig.from_env(dotenv=options.dotenv)
    kind = OrderType(options.order_type)
    amounts = (
        _immediate_amounts(options)
        if kind.is_immediate
        else limit_amounts(options.price, options.size, options.side, tick_size=options.tick_size)
    )
    signed = build_signer(config).sign(
        Order(
            generation=Generation(options.generation),
            token_id=options.token_id,
            side=options.side,
            maker_micro=amounts.maker_micro,
            taker_micro=amounts.taker_micro,
            neg_risk=options.neg_risk,
            builder=config.builder_code,
        )
    )
    owner = config.api_key.reveal() or "00000000-0000-0000-0000-000000000000"
    print(encode_order(signed, owner=owner, order_type=kind).decode())
    return 0


def _immediate_amounts(options: argparse.Namespace) -> Amounts:
    """Return the amounts of an order that is given in shares but may be sized in dollars."""
    resting = limit_amounts(options.price, options.size, "BUY", tick_size=options.tick_size)
    amount = resting.maker_micro if options.side == "BUY" else resting.taker_micro
    return market_amounts(
        from_micro(amount), options.price, options.side, tick_size=options.tick_size
    )


def _submit(options: argparse.Namespace) -> int:
    """Send the order through the whole path; REAL_TRADING_ENABLED must say true."""
    config = ExecutorConfig.from_env(dotenv=options.dotenv)
    leg = Leg(
        options.token_id,
        options.side,
        options.price,
        options.size,
        options.order_type,
        neg_risk=options.neg_risk,
        tick_size=options.tick_size,
        generation=options.generation,
    )
    with SyncExecutor(config) as executor:
        result = executor.submit(LegsSignal([leg])).result()
    if result.skipped is not None:
        print(f"skipped {result.skipped}: {result.detail}")
    for one in result.legs:
        error = f" ({one.error})" if one.error else ""
        print(f"{one.state} {one.order_id} filled {one.filled_size} of {one.size}{error}")
    return 0 if result.success else 1


def _record(options: argparse.Namespace) -> int:
    """Needs no account: the market channel is public."""
    from polyexec.engine.record import read_tokens, record  # noqa: PLC0415  needed here only

    tokens = read_tokens(options.tokens, options.tokens_file)
    rotate_s = 60 * options.rotate_minutes
    print(asyncio.run(record(options.url, tokens, options.out, rotate_s=rotate_s)))
    return 0


def _trades(options: argparse.Namespace) -> int:
    """Needs no key; may run while a bot stores more."""
    from polyexec.storing import TradeReader, store_location  # noqa: PLC0415  needed here only

    where = options.url or store_location(ExecutorConfig.from_env(dotenv=options.dotenv))
    if where is None:
        raise ConfigError("no database: give --url, or set DB_URL or the other DB_* variables")
    reader = TradeReader(where)
    trades = reader.trades(
        since=options.since,
        until=options.until,
        group=options.group,
        sent=True if options.sent else None,
        limit=options.limit,
    )
    reader.close()
    if options.csv is not None:
        trades.to_csv(options.csv)
    if options.parquet is not None:
        trades.to_parquet(options.parquet)
    if options.csv is None and options.parquet is None:
        for trade in trades:
            print(trade.line())
    print(f"{len(trades)} trades")
    return 0


def _backtest(options: argparse.Namespace) -> int:
    """Needs no account and no network."""
    from polyexec.backtest.command import run_command  # noqa: PLC0415  it loads what others do not

    return run_command(options)


def _build_info(options: argparse.Namespace) -> int:
    print(json.dumps(build_info(), indent=2))
    return 0
