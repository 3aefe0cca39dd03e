"""Answers that are due: whoever waits for the last of them is woken, from whatever thread."""

import asyncio
import threading

from polyexec.posting import AnswersDue


async def test_all_who_wait_are_woken_by_the_last_answer() -> None:
    due = AnswersDue()
    due.more()
    due.more()
    waiting = [asyncio.create_task(due.wait(60)) for _ in range(2)]
    await asyncio.sleep(0)
    due.less()
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    answering = threading.Thread(target=due.less)
    answering.start()
    await asyncio.gather(*waiting)
    answering.join()
    assert not due


async def test_without_an_answer_due_nobody_waits() -> None:
    await AnswersDue().wait(60)


async def test_who_gives_up_is_not_woken_later() -> None:
    due = AnswersDue()
    due.more()
    await due.wait(0)
    due.less()
    assert not due
