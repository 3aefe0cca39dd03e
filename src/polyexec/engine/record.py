"""``polyexec record``: follow tokens, keep what comes, until told to stop."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

from polyexec._impl import PriceTable
from polyexec.engine.feed import Feed
from polyexec.engine.following import FeedSettings
from polyexec.engine.recording import Recorder
from polyexec.errors import InputError
from polyexec.models import TokenId
from polyexec.parsing import parse_token_id

__all__ = ["read_tokens", "record"]


def read_tokens(named: Sequence[str], file: Path | None) -> list[TokenId]:
    """Return the token ids of the arguments and of a file, one a line; ``#`` begins a comment.

    Raises
    ------
    InputError
        There is none, one is not a token id, or the file cannot be read.
    """
    texts = list(named)
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError("tokens-file", str(file), f"cannot be read: {error}") from None
        texts += [text for line in lines if (text := line.partition("#")[0].strip())]
    tokens = list(dict.fromkeys(parse_token_id(text) for text in texts))
    if not tokens:
        raise InputError("tokens", "", "names no token: give --tokens or --tokens-file")
    return tokens


async def record(
    url: str, token_ids: Sequence[TokenId], folder: Path, *, rotate_s: float = 3600.0
) -> str:
    """Record until SIGINT or SIGTERM; return a line that says what was recorded.

    Raises
    ------
    InputError, ConfigError
        The folder cannot be made, or the URL is no wss host.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    recorder = Recorder(folder, rotate_s=rotate_s)
    feed = Feed(
        url,
        PriceTable(len(token_ids)),
        on_touched=lambda slot: None,
        settings=FeedSettings(hash_checks_per_s=0),
        tap=recorder,
    )
    try:
        with recorder:
            async with feed:
                feed.subscribe(token_ids)
                await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    written, seen = recorder.counts, feed.counts
    return (
        f"frames={written.frames} lines={written.lines} files={written.files} "
        f"lost={written.lost} connections_lost={seen.losses} faults={sum(seen.faults.values())}"
    )
