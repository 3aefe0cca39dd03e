"""Find the Python code blocks of a Markdown page and run them."""

import ast
import asyncio
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SIDES = ("before", "after")
"""Words of blocks that belong to one of two programs of a page, shown side by side."""

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,})(?P<info>.*)$")


@dataclass(frozen=True)
class Block:
    """One fenced block; ``line`` is the number of its first line of code."""

    language: str
    words: tuple[str, ...]
    line: int
    code: str

    @property
    def runs(self) -> bool:
        """It is Python of the page itself: not marked ``no-run``, and of no other program."""
        return self.is_python and not {"no-run", *SIDES}.intersection(self.words)

    def is_of(self, side: str) -> bool:
        """It is a piece of the program that a page shows beside another one."""
        return self.is_python and side in self.words

    @property
    def is_python(self) -> bool:
        """It is Python."""
        return self.language in {"python", "py", "{code-block} python"}


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        opening = FENCE.match(line)
        if opening is None:
            continue
        indent, ticks = len(opening["indent"]), opening["ticks"]
        code: list[str] = []
        for _, inner in lines:
            if inner.strip().startswith(ticks) and not inner.strip().strip(ticks[0]):
                break
            code.append(inner[indent:] if inner[:indent].isspace() or not indent else inner)
        else:
            raise ValueError(f"line {number}: the code block does not end")
        language, *words = opening["info"].split() or [""]
        yield Block(language, tuple(words), number + 1, "\n".join(code) + "\n")


def padded(blocks: list[Block]) -> str:
    """Return the code of some blocks, every line where it stands in the page: for tracebacks."""
    lines: list[str] = []
    for block in blocks:
        lines += [""] * (block.line - 1 - len(lines)) + block.code.splitlines()
    return "\n".join(lines) + "\n"


async def run_blocks(blocks: list[Block], path: Path) -> dict[str, object]:
    """Run blocks one after the other in one namespace; top-level ``await`` works."""
    namespace: dict[str, object] = {"__name__": "__page__"}
    for block in blocks:
        code = compile(padded([block]), str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, namespace)
        if inspect.isawaitable(result):
            await result
    return namespace


def run_page(path: Path) -> dict[str, object]:
    """Run every runnable block of a page and return what it defined."""
    blocks = [block for block in blocks_of(path.read_text()) if block.runs]
    return asyncio.run(run_blocks(blocks, path))
