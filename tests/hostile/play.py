"""Plays cases against the real order transport and writes down what came of each."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from polyexec.clob.http2 import FramingName
from polyexec.clob.pool import OrderTransport
from polyexec.core.ports import Answer, Outcome
from polyexec.enums import SentState
from polyexec.errors import NotSentError
from tests.hostile.cases import NOT_SENT, UNKNOWN, Case
from tests.hostile.certificates import client_context
from tests.hostile.server import HostileServer
from tests.quiet import quiet

BODY = b"[" + b"x" * 2288 + b"]"
AT_ONCE = 16
WATCHDOG_S = 60.0
Outcomes = list[Outcome]


@dataclass
class Seen:
    """What came of a case."""

    verdict: int | str = "no verdict"
    survived: bool = False
    calls: int = 0
    """How often the callback was called."""
    second: list[str] = field(default_factory=list)
    """What later requests got before one was answered."""
    answer: Answer | None = None
    faults: list[str] = field(default_factory=list)
    """What must not be: exceptions, a hang."""


def verdict_of(outcome: Outcome) -> int | str:
    if isinstance(outcome, Answer):
        return outcome.status
    return NOT_SENT if outcome.error.sent is SentState.NO else UNKNOWN


async def _session(
    case: Case, server: HostileServer, transport: OrderTransport, seen: Seen
) -> None:
    try:
        await transport.open()
    except NotSentError:
        seen.verdict, seen.calls = NOT_SENT, 1
        return
    outcomes: Outcomes = []
    if case.idle:
        await server.played.wait()
    first = await _post(transport, outcomes)
    seen.verdict = verdict_of(first)
    seen.answer = first if isinstance(first, Answer) else None
    if not case.always:
        await server.played.wait()
        await _post_until_answered(transport, seen)
    seen.survived = server.connections == 1
    await transport.close()
    seen.calls = len(outcomes)


async def _post(transport: OrderTransport, outcomes: Outcomes) -> Outcome:
    came = asyncio.Event()

    def settle(outcome: Outcome) -> None:
        outcomes.append(outcome)
        came.set()

    transport.send("POST", "/orders", {"POLY_API_KEY": "key"}, BODY, settle)
    await came.wait()
    return outcomes[0]


async def _post_until_answered(transport: OrderTransport, seen: Seen) -> None:
    """The transport must recover, whatever was done to it."""
    while True:
        verdict = verdict_of(await _post(transport, []))
        if verdict == 200:
            return
        seen.second.append(str(verdict))
        await asyncio.sleep(0.005)  # connecting again


async def play(case: Case, framing: FramingName) -> Seen:
    """Play one case."""
    seen = Seen()
    server = HostileServer(case.script, certificate=case.certificate, always=case.always)
    async with server:
        transport = OrderTransport(
            server.url,
            ssl_context=client_context(),
            framing=framing,
            **{"size": 1, "ping_interval_s": 3600} | case.options,
        )
        try:
            async with asyncio.timeout(WATCHDOG_S):
                await _session(case, server, transport, seen)
        except TimeoutError:
            seen.faults.append("hangs")
        except Exception as error:
            seen.faults.append(f"raises {error!r}")
        finally:
            await transport.close()
        seen.faults += [f"the script failed: {error!r}" for error in server.faults]
    return seen


async def play_all(chosen: Iterable[tuple[Case, FramingName]]) -> dict[tuple[str, str], Seen]:
    """Play cases side by side: those that work a few at once, those that wait all together."""
    chosen = list(chosen)
    seen: dict[tuple[str, str], Seen] = {}
    loop_faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: loop_faults.append(str(context))
    )
    room = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case, framing: FramingName) -> None:
        if case.options:
            seen[case.name, framing] = await play(case, framing)
            return
        async with room:
            seen[case.name, framing] = await play(case, framing)

    with quiet(logging.ERROR):
        for waits in (False, True):
            await asyncio.gather(*(one(*pair) for pair in chosen if bool(pair[0].options) is waits))
    if loop_faults:
        raise AssertionError(f"{len(loop_faults)} faults on the loop, the first: {loop_faults[0]}")
    return seen
