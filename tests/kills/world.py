"""One exchange, one account, one journal, and many processes that are killed."""

import asyncio
import random
import signal
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

import polyexec as px
from polyexec.paper import Fault, PaperExchange, PaperMarket, Request, Response
from tests.kills import protocol
from tests.kills.nursery import Nursery
from tests.kills.protocol import Answered, Books, Idle, LifePlan, Opened, Report, Submitting
from tests.kills.truth import JournalReader, Truth

__all__ = ["Fate", "World"]

_STUCK_S = 60
_ROUNDS = 5
"""How often a process trades until its fate has found it."""
_ABSENT_AFTER_S = 0.4
_LATE_S = 0.15
"""A POST of a dead process is taken so much later at most: well before it counts as absent."""
_SIDES = ("BUY", "BUY", "BUY", "SELL")
# The exchange shows an account's trades with itself once, so a market is traded on one side.


class Fate(msgspec.Struct, frozen=True):
    """When a process is killed."""

    kind: str
    """``start``: so long after its start; ``request``, ``post``, ``cancel``: at its nth; ``trade``:
    so long after it begins to trade; ``idle``; ``close``: so long after it begins to close."""
    nth: int
    when: str
    """Of a request: ``before`` or ``after`` the exchange has handled it, so long after it is
    ``answered``, or before, and the exchange handles it ``late``."""
    delay_s: float


def _fate(rng: random.Random) -> Fate:
    kind = rng.choice(("start", "request", *("post",) * 5, "cancel", "trade", "trade", "idle"))
    if kind == "idle" and rng.random() < 0.5:
        kind = "close"
    longest_s = {"start": 0.08, "trade": 0.12, "close": 0.02}.get(kind, 0.004)
    return Fate(
        kind=kind,
        nth=1 if kind == "cancel" else rng.choice((1, 1, 2, 3, rng.randint(1, 25))),
        when=rng.choice(("before", "after", "after", "answered", "late")),
        delay_s=rng.random() * longest_s,
    )


class _Life:
    """A process and what is known of it."""

    def __init__(self, number: int, fate: Fate | None) -> None:
        self.number = number
        self.fate = fate
        self.pid = 0
        self.phase = "starting"
        self.killed_in = ""
        self.rounds = 0
        self.seen: Counter[str] = Counter()
        self.over = asyncio.Event()

    def strike(self, phase: str = "") -> None:
        """Kill it, unless it is dead."""
        if self.pid and not self.killed_in and not self.over.is_set():
            self.killed_in = phase or self.phase
            Nursery.kill(self.pid)

    async def kill(self, phase: str) -> None:
        """Kill it, and return when it is dead."""
        self.strike(phase)
        await self.over.wait()


class World:
    """Plays until so many processes were killed, then lets one end well.

    Parameters
    ----------
    fate : Fate or None
        Of every process; ``None``: drawn for each.
    sabotage : str
        A fault of ours, one of ``sabotage.PLANTS``.

    Attributes
    ----------
    kills : Counter
        How many processes were killed in which phase.
    orders : int
        Orders that the exchange took.
    violations : list of str
    """

    def __init__(
        self,
        seed: int,
        number: int,
        folder: Path,
        nursery: Nursery,
        *,
        fate: Fate | None = None,
        sabotage: str = "",
    ) -> None:
        self._name = f"seed {seed} world {number}"
        self._rng = rng = random.Random(f"kills/{seed}/{number}")
        self._folder = folder
        self._nursery = nursery
        self._fate = fate
        self._sabotage = sabotage
        self._key = rng.randbytes(32).hex()
        self._journal_bytes = rng.choice((None, 30_000))
        self._fault_rate = rng.choice((0.0, 0.0, 0.1))
        self._policy = rng.choice(("hold", "hold", "complete, unwind"))
        self._resend_after_s = rng.choice((None, 0.1))
        self._deposit = rng.choice((300, 20_000))
        if sabotage:
            self._policy = "hold"
        self._life = _Life(0, None)
        self._tokens: dict[str, str] = {}
        self.kills: Counter[str] = Counter()
        self.orders = 0
        self.violations: list[str] = []

    async def run(self, kills: int) -> None:
        """Kill so many processes."""
        signer = px.OrderSigner(self._key)
        async with PaperExchange() as exchange:
            self._exchange = exchange
            self._ca = str(exchange.write_ca(self._folder / "ca.pem"))
            self._credentials = exchange.credentials(self._key)
            exchange.deposit(signer.address, self._deposit)
            self._markets = [exchange.add_market(f"m{n}", fee_rate="0.07") for n in range(4)]
            self._tokens = dict(zip((m.yes for m in self._markets), _SIDES, strict=True))
            for token, side in self._tokens.items():
                if side == "SELL":
                    exchange.set_position(signer.address, token, 5_000)
            path = self._folder / "journals" / f"{signer.address}-{signer.chain_id}"
            self._truth = Truth(
                exchange,
                signer,
                JournalReader(path / "journal.wal"),
                self._violate,
                may_resend=self._resend_after_s is not None,
                follows_up=self._policy != "hold",
            )
            exchange.on_request = self._on_request
            while self.kills.total() < kills and not self.violations:
                self._move_market()
                await self._play(self._fate or _fate(self._rng))
            if not self.violations:
                await self._play(None)
                self._truth.closed()
            self.orders = len(self._truth.orders)

    def _violate(self, what: str) -> None:
        life = self._life
        self.violations.append(
            f"{self._name} life {life.number}, {life.fate}, killed {life.killed_in!r}: {what}\n"
            f"{self._log(life)}"
        )

    def _log(self, life: _Life) -> str:
        path = self._stderr(life)
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def _stderr(self, life: _Life) -> Path:
        return self._folder / f"stderr-{life.number}"

    # a life -----------------------------------------------------------------------------------

    async def _play(self, fate: Fate | None) -> None:
        """Let one process live, until it is killed or, without a fate, until it ends."""
        life = self._life = _Life(self._life.number + 1, fate)
        self._truth.born()
        plan = self._plan(life)
        life.pid, channel = self._nursery.start(plan, self._stderr(life))
        reader, writer = await asyncio.open_connection(sock=channel)
        if fate is not None and fate.kind == "start":
            asyncio.get_running_loop().call_later(fate.delay_s, life.strike)
        try:
            async with asyncio.timeout(_STUCK_S):
                await self._converse(life, reader, writer)
        except TimeoutError:
            self._violate(f"stuck while {life.phase}")
            life.strike()
        except ConnectionError:
            pass  # killed before it had read our last word; after that it had said nothing
        life.over.set()
        writer.close()
        status = self._nursery.reap(life.pid)
        # What it had sent is read first.
        while self._exchange._server._connections:  # noqa: ASYNC110  a server has no event for it
            await asyncio.sleep(0)
        if status == -signal.SIGKILL:
            self.kills[life.killed_in] += 1
        elif status != 0 or life.phase != "closing":
            self._violate(f"ended by itself with {status} while {life.phase}")
        self._truth.buried()

    async def _converse(
        self, life: _Life, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        decoder = msgspec.json.Decoder(Report)
        cancels, was_cancelled = self._rng.random() < 0.2 or life.fate is None, False
        while (line := await reader.readline()).endswith(b"\n"):
            said = decoder.decode(line)
            word = b""
            match said:
                case Opened():
                    life.phase = "recovering"
                    self._truth.opened(said)
                case Submitting():
                    self._truth.submits(said)
                case Answered():
                    self._truth.answered(said)
                case Books():
                    self._truth.recovered(said)
                    if was_cancelled:
                        self._truth.cancelled(said)
                    word = protocol.CANCEL if cancels and not was_cancelled else protocol.GO
                    if was_cancelled and life.fate is None:
                        word = protocol.CLOSE
                    was_cancelled = was_cancelled or word == protocol.CANCEL
                case Idle():
                    life.phase = "idle"
                    word = self._end(life)
            if word == protocol.GO:
                self._begin(life)
            elif word == protocol.CLOSE:
                life.phase = "closing"
            writer.write(word)

    def _begin(self, life: _Life) -> None:
        life.phase = "trading"
        if life.fate is not None and life.fate.kind == "trade":
            asyncio.get_running_loop().call_later(life.fate.delay_s, life.strike)

    def _end(self, life: _Life) -> bytes:
        """Say what a process does that has submitted all it wanted."""
        fate = life.fate
        if fate is None or fate.kind != "close":
            life.rounds += 1
            if life.rounds < _ROUNDS and fate is not None and fate.kind != "idle":
                return protocol.GO
            life.strike()
            return b""
        asyncio.get_running_loop().call_later(fate.delay_s, life.strike)
        return protocol.CLOSE

    def _plan(self, life: _Life) -> LifePlan:
        rng = self._rng
        config: dict[str, Any] = {
            "private_key": self._key,
            "clob_url": self._exchange.url,
            "executor_mode": "live",
            "trading_enabled": True,
            "opportunity_timeout_ms": 0,
            "max_in_flight": rng.choice((1, 4, 16)),
            "post_timeout_s": 0.3 if self._fault_rate else 5,
            "follow_interval_s": rng.choice((0.02, 1000)),
            "unknown_absent_after_s": _ABSENT_AFTER_S,
            "unknown_resend_after_s": self._resend_after_s,
            "journal_mode": rng.choice(("os", "fsync")),
            "journal_folder": str(self._folder / "journals"),
            "presign": rng.choice((0, 0, 32)),
        }
        if rng.random() < 0.8:  # else it asks for them
            config |= {
                "api_key": self._credentials.api_key,
                "api_secret": self._credentials.secret,
                "api_passphrase": self._credentials.passphrase,
            }
        return LifePlan(
            seed=f"{self._name}/{life.number}",
            config=config,
            policy={"steps": self._policy, "patience_ms": 20},
            ca=self._ca,
            sides=self._tokens,
            signals=rng.choice((5, 15, 40)),
            is_eager=bool(self._sabotage) or (self._policy == "hold" and rng.random() < 0.3),
            journal_bytes=self._journal_bytes,
            sabotage=self._sabotage,
        )

    # the exchange -----------------------------------------------------------------------------

    def _move_market(self) -> None:
        """Let the house trade with what rests, and offer anew."""
        for market in self._rng.sample(self._markets, self._rng.randint(1, 4)):
            self._offer(market)

    def _offer(self, market: PaperMarket) -> None:
        middle = self._rng.choice((28, 29, 30, 30, 31))
        bids = [(f"0.{middle - 1}", self._rng.choice((7, 60, 500)))]
        asks = [(f"0.{middle}", self._rng.choice((7, 60, 500))), (f"0.{middle + 1}", 500)]
        self._exchange.set_book(market.yes, bids=bids, asks=asks)

    async def _on_request(self, request: Request) -> Response | Fault | None:
        try:
            return await self._handle(self._life, request)
        except Exception:  # the server would only log it
            self._violate(traceback.format_exc())
            raise

    async def _handle(self, life: _Life, request: Request) -> Response | Fault | None:
        self._truth.requested(request)
        kind = {
            "POST/orders": "post",
            "DELETE/orders": "cancel",
            "DELETE/cancel-all": "cancel",
        }.get(request.method + request.path, "other")
        life.seen.update(("request", kind))
        fate = life.fate
        if fate is not None and life.seen[fate.kind] == fate.nth and fate.kind in (kind, "request"):
            return await self._meet(life, fate, kind, request)
        if kind == "post" and self._rng.random() < 0.1:
            self._move_market()
        if kind == "post" and self._rng.random() < self._fault_rate:
            return self._rng.choice((Fault.DROP, Fault.HANDLE_THEN_DROP))
        return None

    async def _meet(
        self, life: _Life, fate: Fate, kind: str, request: Request
    ) -> Response | Fault | None:
        """Kill it in the middle of a request."""
        phase = f"{kind} {fate.when}"
        match fate.when:
            case "answered":
                asyncio.get_running_loop().call_later(fate.delay_s, life.strike, phase)
            case "after":
                answer = self._exchange.handle(request)
                await life.kill(phase)
                return answer
            case "late":
                await life.kill(phase)
                await asyncio.sleep(self._rng.random() * _LATE_S)
            case _:
                await life.kill(phase)
        return None
