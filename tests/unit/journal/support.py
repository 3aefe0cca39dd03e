"""Groups of orders, the records of their lives, and journals that hold them."""

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

import polyexec as px
from polyexec.core.journal import (
    Account,
    Answered,
    Close,
    Intent,
    Record,
    Release,
    Sent,
    Signed,
    Trade,
    account_of,
)
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import Fill
from polyexec.enums import LegState
from polyexec.journal import frames, wal
from polyexec.models import OrderId
from tests.unit.core.support import intent_leg, leg, priced

KEY = "0x" + "35" * 32
OWNER = "fe0d4178-bd63-47ca-895b-8690daccfce9"
BUILDER = "0x" + "ab" * 32
NOW = 1_790_000_000_123

SIGNER = px.OrderSigner(KEY)
ACCOUNT = account_of(SIGNER)
OTHER = account_of(px.OrderSigner("0x" + "36" * 32))

_LEGS = priced(leg(2**200 + 1), leg(2**200 + 2, price="0.30"), leg(2**200 + 3, price="0.20"))


def intent(group: int, *, legs: int = 3, **changes: Any) -> Intent:
    given: dict[str, Any] = {
        "group": group,
        "at_ms": NOW,
        "timestamp_ms": NOW,
        "owner": OWNER,
        "builder": BUILDER,
        "legs": tuple(
            intent_leg(leg, 1000 * group + number) for number, leg in enumerate(_LEGS[:legs])
        ),
    }
    return Intent(**given | changes)


def ids(group: int, legs: int = 3) -> tuple[OrderId, ...]:
    """Return order ids that no other group has; real ones cost a signature."""
    return tuple(OrderId(f"0x{group:060x}{number:04x}") for number in range(legs))


def length(folder: Path) -> int:
    """Return the bytes of a journal without the room behind its records."""
    return len((folder / "journal.wal").read_bytes().rstrip(b"\0"))


def body(group: int) -> bytes:
    return b"[" + b'{"order":{"salt":%d}},' % group * 60 + b"{}]"


def fill(order_id: OrderId, micro: int = 1_000_000, **changes: Any) -> Fill:
    given: dict[str, Any] = {
        "trade_id": "trade-1",
        "order_id": order_id,
        "token_id": _LEGS[0].token_id,
        "side": px.Side.BUY,
        "price_e4": 4000,
        "size_micro": micro,
        "is_taker": True,
        "status": "MATCHED",
        "match_time_s": NOW // 1000,
    }
    return Fill(**given | changes)


def trade(order_id: OrderId, **changes: Any) -> Trade:
    given: dict[str, Any] = {
        "order_id": order_id,
        "at_ms": NOW + 3,
        "state": LegState.MATCHED,
        "fills": (fill(order_id),),
        "fee_rate_micro": 0,
        "fee_exponent": 1,
    }
    return Trade(**given | changes)


def release(order_id: OrderId, released_micro: int = 0, *, index: int = 0) -> Release:
    reserved = _LEGS[index].reserve_micro
    return Release(
        order_id=order_id,
        at_ms=NOW + 4,
        spent_micro=reserved - released_micro,
        released_micro=released_micro,
    )


def life(group: int) -> list[Record]:
    """Return every record of a group of three that was answered and traded."""
    states = (LegState.MATCHED, LegState.LIVE, LegState.REJECTED)
    answers = tuple(LegOutcome(state=state, error=f"{state}") for state in states)
    order_ids = ids(group)
    return [
        intent(group),
        Signed(group=group, order_ids=order_ids, body=body(group)),
        Sent(group=group, at_ms=NOW + 1),
        Answered(group=group, at_ms=NOW + 2, legs=answers),
        *(trade(order_id) for order_id in order_ids[:2]),
        *(release(order_id, index=index) for index, order_id in enumerate(order_ids)),
        Close(group=group, at_ms=NOW + 5),
    ]


def write(journal: Any, record: Record) -> None:
    """Hand a record to a journal by the method that takes it; SIGNED carries its INTENT."""
    if isinstance(record, Intent):
        journal.begin(record)
    elif isinstance(record, Signed):
        journal.seal(record.group, record.body, record.order_ids)
    else:
        journal.append(record)


def open_one(folder: Path, mode: str = "os", *, account: Account = ACCOUNT, **changes: Any) -> Any:
    return wal.open_journal(folder, account, mode=mode, **changes)  # type: ignore[arg-type]


def groups_in(folder: Path) -> list[int]:
    """Return the numbers of the open groups in a folder, by opening a copy of it."""
    copy = folder.with_name(folder.name + "-copy")
    shutil.copytree(folder, copy)
    try:
        journal = open_one(copy)
        journal.close()
        return [group.group for group in journal.recovered.groups]
    finally:
        shutil.rmtree(copy)


def file_of(records: Sequence[Record]) -> tuple[bytes, list[frames.Place]]:
    """Return the bytes of a journal file, and the place of each record and of the end."""
    info = frames.FileInfo(account=ACCOUNT, generation=0, first_sequence=1, next_group=1)
    start, place = frames.preamble(info)
    parts, places = [start], [place]
    for record in records:
        data, crc = frames.frame(msgspec.msgpack.encode(record), place.sequence, place.previous)
        place = frames.Place(place.offset + len(data), place.sequence + 1, crc)
        parts.append(data)
        places.append(place)
    return b"".join(parts), places


def read(data: bytes) -> tuple[list[Record], int]:
    """Return the records of a file, and how many bytes of a torn write follow them."""
    _, place = frames.read_preamble(data)
    found = []
    decoder = msgspec.msgpack.Decoder(Record)
    for payload, following in frames.read_records(data, place):
        found.append(decoder.decode(payload))
        place = following
    return found, max(0, len(data.rstrip(b"\0")) - place.offset)


def lives(count: int) -> Iterator[Record]:
    """Yield that many records of groups that overlap: each begins before the last one ends."""
    made, group = 0, 1
    waiting: list[Record] = []
    while True:
        fresh = life(group)
        for record in (*fresh[:2], *waiting, *fresh[2:4]):
            if made == count:
                return
            yield record
            made += 1
        waiting = fresh[4:]
        group += 1


def submit(journal: Any, group: int | None = None) -> int:
    """Begin and seal a group; return its number."""
    group = group or int(journal.new_group())
    journal.begin(intent(group))
    journal.seal(group, body(group), ids(group))
    return group


def compact(journal: Any) -> None:
    """Make the journal compact itself now, and wait for it."""
    with journal._lock:
        generation = journal._info.generation
        journal._limit = 0
        journal._work.notify()
        assert journal._synced.wait_for(lambda: journal._info.generation > generation, timeout=20)


def in_thread(call: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors
