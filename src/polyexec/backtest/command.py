"""``polyexec backtest``: recordings in, figures out."""

import inspect
import json
import re
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor as Pool
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from polyexec.backtest.forms import forms_from_metadata, load_forms, save_forms
from polyexec.backtest.readers import open_source
from polyexec.backtest.report import Report
from polyexec.backtest.runner import run
from polyexec.backtest.studies import Study, capacity, sensitivity
from polyexec.config import ExecutorConfig
from polyexec.core.forms import Form
from polyexec.engine.groups import load_overrides
from polyexec.errors import InputError

__all__ = ["run_command"]

_UNPROVEN_SHOWN: Final = 10
_NOT_HERE: Final = re.compile(
    r"private_key|api_.*|.*_url|proxy_address|signer_address|ssl_context|telegram_.*|redis|database"
)


def run_command(options: Namespace) -> int:
    """Run a backtest as the command line asks for it; return the exit status.

    Raises
    ------
    PolyexecError
        In words: a file, an argument or a setting that cannot work.
    """
    sources = [open_source(path) for path in options.paths]
    config = _settings(options.set)
    common: dict[str, Any] = {
        "config": config,
        "balance": options.balance,
        "seed": options.seed,
        "forms": _forms(options),
    }
    latency_ms = _latency(options.latency)
    report = run(None, sources, latency_ms=latency_ms, progress=options.progress, **common)
    studies = [] if report.is_cancelled else _studies(options, sources, latency_ms, common)
    if options.html is not None:
        report.to_html(options.html, *studies, title="Backtest")
    if options.json:
        print(json.dumps(_document(report, studies)))
    else:
        print("\n\n".join(map(str, [report, *studies])))
        print(last_line(report))
    return 1 if report.is_cancelled else 0


def last_line(report: Report) -> str:
    """Return the line that ends the command."""
    fields = {
        "signals": len(report.trades),
        "executed": len(report.whole),
        "skipped": len(report.trades) - len(report.sent),
        "legged": len(report.legged),
        "events": report.events,
        "partial": "yes" if report.is_partial else "no",
        "digest": report.digest,
    }
    return " ".join(f"{name}={value}" for name, value in fields.items())


def _document(report: Report, studies: Sequence[Study]) -> dict[str, Any]:
    made = {study.parameter: msgspec.to_builtins(study.rows()) for study in studies}
    return {**report.summary(), **({"studies": made} if made else {})}


def _studies(
    options: Namespace, sources: list[Any], latency_ms: tuple[int, int], common: dict[str, Any]
) -> list[Study]:
    studies = []
    with _pool(options.processes) as pool:
        how = {"executor": pool, "progress": options.progress, **common}
        if options.latencies:
            each = [_whole("--latencies", text) for text in options.latencies.split(",")]
            studies.append(sensitivity(sources, latencies_ms=each, **how))
        if options.sizes:
            sizes = options.sizes.split(",")
            studies.append(capacity(sources, sizes=sizes, latency_ms=latency_ms, **how))
    return studies


@contextmanager
def _pool(processes: int) -> Iterator[Pool | None]:
    if processes < 1:
        raise InputError("--processes", processes, "must be 1 or more")
    if processes == 1:
        yield None
        return
    with ProcessPoolExecutor(processes) as pool:
        yield pool


def _forms(options: Namespace) -> tuple[Form, ...]:
    if options.forms is not None:
        for name in ("delay", "overrides"):
            if getattr(options, name):
                raise InputError(f"--{name}", getattr(options, name), "goes with --metadata only")
        forms = load_forms(options.forms)
    else:
        overrides = load_overrides(options.overrides)
        forms, unproven = forms_from_metadata(
            options.metadata, overrides=overrides, delay=options.delay
        )
        for one in unproven[:_UNPROVEN_SHOWN]:
            print(f"polyexec: not evaluated: {one}", file=sys.stderr)
        if len(unproven) > _UNPROVEN_SHOWN:
            more = len(unproven) - _UNPROVEN_SHOWN
            print(f"polyexec: not evaluated: {more} more", file=sys.stderr)
        if not forms:
            names = [str(path) for path in options.metadata]
            hint = "proves no set of legs; what is missing is said above"
            raise InputError("--metadata", names, hint if unproven else "has no price ranges")
    if options.save_forms is not None:
        save_forms(forms, options.save_forms)
    return forms


def _settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Return the settings of ``--set``; who they are for is checked by the executor's own."""
    parameters = inspect.signature(ExecutorConfig).parameters
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        name = name.strip().lower()
        # Never the value, and no name that is none: somebody may have put a key there.
        shown = name if re.fullmatch("[a-z_]{1,40}", name) else "..."
        if not sign:
            raise InputError("--set", shown, "must be NAME=VALUE")
        if name not in parameters:
            raise InputError("--set", shown, "is no setting; see docs/reference/config.md")
        if _NOT_HERE.fullmatch(name):
            raise InputError("--set", name, "is not used in a backtest: leave it out")
        if name in settings:
            raise InputError("--set", name, "is given twice")
        settings[name] = _value(text.strip(), parameters[name].annotation)
    ExecutorConfig(private_key="1" * 64, **settings)
    return settings


def _value(text: str, kind: Any) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    # Numbers that are money stay texts: a float would have to be exact.
    is_float = kind in (float, float | None)
    return float(text) if is_float and re.fullmatch(r"[+-]?\d*\.\d+", text) else text


def _latency(text: str) -> tuple[int, int]:
    parts = [_whole("--latency", part) for part in text.split(",")]
    if len(parts) == 1:
        parts *= 2
    if len(parts) != 2:
        raise InputError("--latency", text, "must be milliseconds there and back, as 20,20")
    return parts[0], parts[1]


def _whole(name: str, text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit()):
        raise InputError(name, text, "must be whole milliseconds of 0 or more")
    return int(text)
