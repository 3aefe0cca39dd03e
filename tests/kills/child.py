"""The process that is killed. ``python -m tests.kills.child`` forks one for every :class:`Start`.

It forks before it has a thread or a connection, so that a process is trading some milliseconds
after it was asked for: importing takes a hundred times as long. A process is reaped when the
runner says so and not before; until then its pid belongs to nobody else.
"""

import array
import asyncio
import contextlib
import gc
import os
import random
import socket
import ssl
import sys
from pathlib import Path

import msgspec

import polyexec as px
from polyexec.account import build_signer
from polyexec.clob import venue as _venue
from polyexec.core.journal import account_of
from polyexec.core.ledger import COLLATERAL
from polyexec.core.ports import Journal
from polyexec.journal.wal import open_journal
from polyexec.numbers import from_micro
from tests.kills import sabotage
from tests.kills.protocol import (
    CANCEL,
    GO,
    Answered,
    Books,
    Idle,
    LifePlan,
    Opened,
    Order,
    Report,
    Start,
    Submitting,
)

__all__ = ["serve"]

_IMPORTED = (_venue,)  # what an executor would import when it opens
_PRICES = {
    "BUY": ("0.25", "0.28", "0.30", "0.31", "0.33"),
    "SELL": ("0.26", "0.28", "0.29", "0.32", "0.35"),
}


def serve(control: socket.socket) -> None:
    """Fork and reap as told, until the other end is closed."""
    orders = msgspec.json.Decoder(Order)
    gc.freeze()
    while True:
        line, channel = _receive(control)
        if not line:
            return
        order = orders.decode(line)
        if isinstance(order, Start):
            pid = os.fork()
            if pid == 0:
                os.dup2(os.open(os.devnull, os.O_RDONLY), control.detach())
                _live(order, socket.socket(fileno=channel))
            os.close(channel)
            control.sendall(b"%d\n" % pid)
        else:
            _, status = os.waitpid(order.pid, 0)
            control.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _receive(control: socket.socket) -> tuple[bytes, int]:
    data, fds = b"", array.array("i")
    while not data.endswith(b"\n"):
        part, found, _, _ = socket.recv_fds(control, 1 << 16, 1)
        if not part:
            return b"", -1
        data += part
        fds.extend(found)
    return data, fds[0] if fds else -1


def _live(start: Start, channel: socket.socket) -> None:
    """Be one process, and never return."""
    code = 1
    try:
        log = os.open(start.stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sabotage.PLANTS.get(start.life.sabotage, lambda: None)()
        asyncio.run(_Life(start.life).run(channel))
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        os._exit(code)


class _Life:
    def __init__(self, plan: LifePlan) -> None:
        self._plan = plan
        self._rng = random.Random(plan.seed)
        self._answers: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter
        context = ssl.create_default_context(cafile=plan.ca)
        context.set_alpn_protocols(["h2"])
        policy = px.GroupPolicy(**plan.policy)
        self._config = px.ExecutorConfig(ssl_context=context, group_policy=policy, **plan.config)

    async def run(self, channel: socket.socket) -> None:
        reader, self._writer = await asyncio.open_connection(sock=channel)
        async with px.Executor(self._config, journal=self._journal()) as executor:
            held, available = self._held(executor), self._available(executor)
            self._say(Opened(held=held, available=available))
            if self._plan.is_eager:
                await self._answered(self._submit(executor))
            await self._audit(executor)
            while (word := await reader.readline()) in (GO, CANCEL):
                if word == GO:
                    await self._trade(executor)
                    self._say(Idle())
                else:
                    await executor.cancel_all()
                    await self._audit(executor)

    def _journal(self) -> Journal | None:
        """Open the journal as the executor would, if it is to be compacted early."""
        plan, config = self._plan, self._config
        if plan.journal_bytes is None or config.journal_mode is None:
            return None
        account = account_of(build_signer(config.replace(presign=0)))
        folder = Path(config.journal_folder) / f"{account.address}-{account.chain_id}"
        return open_journal(folder, account, mode=config.journal_mode, max_bytes=plan.journal_bytes)

    def _say(self, report: Report) -> None:
        # The bytes are with the kernel when this returns: what was said outlives the process.
        self._writer.write(msgspec.json.encode(report) + b"\n")

    # books ------------------------------------------------------------------------------------

    async def _audit(self, executor: px.Executor) -> None:
        """Report the books once two looks in a row find the same, and no answer is due.

        A group may act meanwhile: what settles between the balance and the comparison counts twice
        until the next balance, and what is on its way is held.
        """
        before, books = None, await self._look(executor)
        while books != before or executor._due:
            await executor.drain()
            before, books = books, await self._look(executor)
        self._say(books)

    async def _look(self, executor: px.Executor) -> Books:
        """Ask for every order until all are resolved, then for money and shares."""
        while (await executor.reconcile()).unknown_orders:  # noqa: ASYNC110  it asks each time
            await asyncio.sleep(0.03)
        promised = self._available(executor)
        await executor.refresh_balance()
        for token in self._plan.sides:
            position = await executor.venue.fetch_position(px.TokenId(token))
            executor.update_positions(
                {token: from_micro(position.balance_micro)}, as_of_ms=position.as_of_ms
            )
        found = await executor.reconcile()
        ledger = executor.ledger
        return Books(
            orders={str(o.order_id): str(o.state) for o in executor._tracker.orders},
            held=self._held(executor),
            promised=promised,
            available=self._available(executor),
            balance={str(asset): ledger.balance(asset) for asset in self._assets()},
            problem="" if found.is_exact else repr(found),
        )

    def _assets(self) -> list[px.TokenId]:
        return [COLLATERAL, *map(px.TokenId, self._plan.sides)]

    def _held(self, executor: px.Executor) -> dict[str, int]:
        return {str(asset): executor.ledger.held(asset) for asset in self._assets()}

    def _available(self, executor: px.Executor) -> dict[str, int]:
        return {str(asset): executor.ledger.available(asset) for asset in self._assets()}

    # trading ----------------------------------------------------------------------------------

    async def _trade(self, executor: px.Executor) -> None:
        rng = self._rng
        for _ in range(self._plan.signals):
            submit = self._submit
            if rng.random() < 0.2:  # signals may come from any thread
                submission = await asyncio.to_thread(submit, executor)
            else:
                submission = submit(executor)
            answer = asyncio.create_task(self._answered(submission))
            self._answers.add(answer)
            answer.add_done_callback(self._answers.discard)
            match rng.randrange(12):
                case 0 | 1 | 2:
                    await answer
                case 3:
                    await asyncio.sleep(rng.choice((0, 0.002, 0.01)))
                case 4:
                    await asyncio.wait([answer, asyncio.create_task(self._ask(executor))])
        await asyncio.gather(*self._answers)

    def _submit(self, executor: px.Executor) -> px.Submission:
        signal, tokens = self._signal()
        self._say(Submitting(tokens=tokens))
        return executor.submit(signal)

    async def _answered(self, submission: px.Submission) -> None:
        result = await submission
        if result.legs:
            legs = [(str(leg.order_id), str(leg.state), leg.filled_micro) for leg in result.legs]
            self._say(Answered(legs=legs))

    async def _ask(self, executor: px.Executor) -> None:
        """Do what else a bot does."""
        with contextlib.suppress(px.TransportError, px.VenueError):
            match self._rng.randrange(6):
                case 0:
                    await executor.cancel_all()
                case 1 | 2:
                    orders = [order.order_id for order in executor._tracker.orders]
                    if orders:
                        await executor.venue.cancel_orders(self._rng.sample(orders, 1))
                case 3 | 4:
                    await executor.refresh_balance()
                case 5:
                    await executor.reconcile()

    def _signal(self) -> tuple[px.Signal, list[str]]:
        rng, sides = self._rng, self._plan.sides
        size = rng.choice((5, 10, 20, 75))
        buys = [token for token, side in sides.items() if side == "BUY"]
        if rng.random() < 0.3:
            quotes = [
                px.Quote(
                    px.TokenId(token),
                    best_bid="0.29",
                    best_ask="0.30",
                    best_bid_size=100,
                    best_ask_size=100,
                    tick_size="0.01",
                    fee_rate="0.07",
                )
                for token in buys[:3]
            ]
            parent, upper, child = quotes
            signal = px.ArbSignal("POLYMARKET_COMPLEMENT_BUY", parent, upper, child, size=size)
            return signal, buys[:3]
        tokens = rng.sample(list(sides), rng.randint(1, len(sides)))
        legs = [
            px.Leg(
                px.TokenId(token),
                sides[token],
                rng.choice(_PRICES[sides[token]]),
                size,
                rng.choice(("GTC", "GTC", "FOK", "FAK")),
                tick_size="0.01",
                fee_rate="0.07",
            )
            for token in tokens
        ]
        return px.LegsSignal(legs), tokens


if __name__ == "__main__":
    serve(socket.socket(fileno=0))
