"""What an examination found, as values and as text."""

import json
import textwrap
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

__all__ = ["Diagnosis", "Finding", "NotPossibleError", "Verdict", "ok", "problem", "warning"]

_WIDTH: Final = 100


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """It can trade, but look at this first."""
    PROBLEM = "problem"
    """It cannot trade, or not with what it should trade with."""
    SKIPPED = "skipped"
    """Not checked; the summary says why."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The end of one check. It never holds a secret."""

    check: str
    verdict: Verdict
    summary: str
    """What is the case, in words."""
    advice: str = ""
    """What to do; empty where there is nothing to do."""
    figures: Mapping[str, Any] = {}
    """The numbers and addresses behind it. Units are in the names."""


class NotPossibleError(Exception):
    """A check needs what an earlier one did not find; the text says what. It ends as skipped."""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Every finding, in the order of the checks."""

    subject: str
    """What was examined."""
    version: str
    """Of polyexec."""
    findings: tuple[Finding, ...]

    @property
    def is_well(self) -> bool:
        """No finding is a problem. Warnings may be among them."""
        return all(finding.verdict is not Verdict.PROBLEM for finding in self.findings)

    def __getitem__(self, check: str) -> Finding:
        """Return the finding of a check; ``KeyError`` when there is none."""
        for finding in self.findings:
            if finding.check == check:
                return finding
        raise KeyError(check)

    def to_json(self) -> str:
        """Return one JSON document."""
        return json.dumps({"is_well": self.is_well, **msgspec.to_builtins(self)}, indent=2)

    def __str__(self) -> str:
        """Return the report for people."""
        lines = [f"polyexec {self.version} on {self.subject}", ""]
        margin = 2 + max(len(finding.check) for finding in self.findings) + len("problem  ")
        for finding in self.findings:
            head = f"{finding.verdict:<9}{finding.check}"
            lines += _wrapped(f"{head:<{margin}}", finding.summary, margin)
            if finding.advice:
                lines += _wrapped(" " * margin + "-> ", finding.advice, margin + 3)
        return "\n".join([*lines, "", self._closing_line()])

    def _closing_line(self) -> str:
        counts = Counter(finding.verdict for finding in self.findings)
        parts = [
            f"{counts[verdict]} {verdict}{'s' if counts[verdict] > 1 else ''}"
            for verdict in (Verdict.PROBLEM, Verdict.WARNING)
            if counts[verdict]
        ]
        return f"{', '.join(parts)}." if parts else "Nothing is wrong."


def ok(check: str, summary: str, **figures: Any) -> Finding:
    """Return a finding of nothing wrong."""
    return Finding(check=check, verdict=Verdict.OK, summary=summary, figures=figures)


def warning(check: str, summary: str, advice: str, **figures: Any) -> Finding:
    """Return a finding that does not keep anyone from trading."""
    return Finding(
        check=check, verdict=Verdict.WARNING, summary=summary, advice=advice, figures=figures
    )


def problem(check: str, summary: str, advice: str, **figures: Any) -> Finding:
    """Return a finding that has to be mended first."""
    return Finding(
        check=check, verdict=Verdict.PROBLEM, summary=summary, advice=advice, figures=figures
    )


def _wrapped(head: str, text: str, margin: int) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
