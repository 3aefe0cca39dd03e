"""How markets ended, from Gamma's market objects."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import orjson

from polyexec.backtest.readers.lines import Lines, list_files, read_document
from polyexec.backtest.readers.sorting import Sorter
from polyexec.backtest.readers.tally import Tally
from polyexec.backtest.readers.times import parse_time_ns
from polyexec.backtest.stream import Coverage, Stamped, Truth
from polyexec.core.answers import decode_json
from polyexec.errors import InputError
from polyexec.parsing import parse_token_id

__all__ = ["Resolutions"]

_ENDS: Final = ("closedTime", "umaEndDate")
_PAYS: Final = {Decimal(0): 0, Decimal("0.5"): 500_000, Decimal(1): 1_000_000}


class Resolutions:
    """What tokens have paid, from markets as Gamma gives them (or events that hold markets).

    Gamma is asked afterwards: its ``outcomePrices``, ``closed`` and best prices are knowledge of
    the future. Nothing of it comes out but the payment, and that at the later of ``closedTime`` and
    ``umaEndDate``. A market that is not closed, or whose prices are not those of an outcome, has
    none.

    Parameters
    ----------
    path : path
        JSON or JSON lines; plain, ``.gz`` or ``.zst``. An object under ``raw`` counts as the
        market.
    """

    truth: Truth = "resolutions"

    def __init__(self, path: Path | str) -> None:
        self.name = str(path)
        self._files = list_files(path)
        self._tally = Tally(self.truth, is_dense=False)

    def events(self) -> Iterator[Stamped]:
        """Yield a resolution per token, by time.

        Raises
        ------
        InputError
            A record is no market, or a closed one has no time; names file and record.
        """
        tally = self._tally = Tally(self.truth, is_dense=False)
        seen: set[str] = set()
        open_markets = row = 0
        sorter: Sorter[list[tuple[str, int]]] = Sorter(list[tuple[str, int]])
        with sorter:
            for where, market in self._markets():
                tokens = _listed(market, "clobTokenIds", where)
                pays = _pays(market, where)
                if pays is None:
                    open_markets += 1
                elif len(pays) != len(tokens):
                    raise InputError(where, tokens, f"are as many tokens as {len(pays)} prices?")
                elif tokens and tokens[0] in seen:
                    tally.duplicates += 1
                else:
                    seen.update(tokens)
                    names = [parse_token_id(token, f"{where} clobTokenIds") for token in tokens]
                    sorter.add(_end_ns(market, where), row, list(zip(names, pays, strict=True)))
                    row += 1
            if open_markets:
                tally.notes.append(f"{open_markets} markets not resolved")
            for time_ns, _, paid in sorter.drain():
                tally.admit(time_ns, self.name)
                for token, pays_micro in paid:
                    tally.tokens.add(token)
                    yield Stamped(
                        received_ns=time_ns,
                        kind="resolution",
                        tokens=(token,),
                        pays_micro=pays_micro,
                    )

    def coverage(self) -> Coverage:
        """Return what there was of it until now."""
        return self._tally.coverage()

    def _markets(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for file in self._files:
            lines = Lines(file)
            for line in lines:
                try:
                    value = decode_json(line)
                except ValueError:
                    if lines.number > 1:
                        raise InputError(lines.where, line[:40], "is not JSON") from None
                    yield from _flat(read_document(file), str(file))
                    break
                yield from _flat(value, lines.where)


def _flat(value: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, list):
        for number, one in enumerate(value, 1):
            yield from _flat(one, f"{where}#{number}")
        return
    if isinstance(value, dict):
        value = value.get("raw", value)
    if not isinstance(value, dict):
        raise InputError(where, value, "is no market of Gamma")
    if "clobTokenIds" in value:
        yield where, value
    elif isinstance(value.get("markets"), list):
        yield from _flat(value["markets"], where)
    else:
        raise InputError(where, sorted(value)[:5], "is no market of Gamma: has no clobTokenIds")


def _listed(market: dict[str, Any], field: str, where: str) -> list[Any]:
    """Return a list that Gamma writes as the text of one."""
    value = market.get(field) or []
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise InputError(f"{where} {field}", value, f"is no list: {error}") from None
    if not isinstance(value, list):
        raise InputError(f"{where} {field}", value, "is no list")
    return value


def _pays(market: dict[str, Any], where: str) -> list[int] | None:
    if market.get("closed") is not True:
        return None
    try:
        prices = [Decimal(str(one)) for one in _listed(market, "outcomePrices", where)]
    except ArithmeticError:
        raise InputError(where, market["outcomePrices"], "are no prices") from None
    # A market can be closed to trading and still be priced: those are no payments yet.
    if sum(prices) != 1 or any(price not in _PAYS for price in prices):
        return None
    return [_PAYS[price] for price in prices]


def _end_ns(market: dict[str, Any], where: str) -> int:
    ends = [parse_time_ns(market[end], f"{where} {end}") for end in _ENDS if market.get(end)]
    if not ends:
        problem = "has neither closedTime nor umaEndDate: when its outcome was known is not told"
        raise InputError(where, market.get("slug"), problem)
    return max(ends)
