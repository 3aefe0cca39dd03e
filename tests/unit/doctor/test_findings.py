"""A diagnosis as value, as text and as JSON."""

import json

import pytest

from polyexec.doctor import Diagnosis, Finding, Verdict
from polyexec.doctor.findings import ok, problem, warning


def diagnosis(*findings: Finding) -> Diagnosis:
    return Diagnosis(subject="https://somewhere", version="1.2", findings=findings)


GOOD = ok("clock", "agrees", offset_s=0)
ODD = warning("limits", "none", "set one")
BAD = problem("wallet", "is another's", "set SIGNATURE_TYPE=2", funder="0xB")


def test_only_a_problem_is_ill() -> None:
    assert diagnosis(GOOD, ODD).is_well
    assert not diagnosis(GOOD, BAD).is_well


def test_a_finding_is_found_by_its_check() -> None:
    assert diagnosis(GOOD, BAD)["wallet"] is BAD
    with pytest.raises(KeyError):
        diagnosis(GOOD)["wallet"]


def test_the_json_is_one_document_with_everything() -> None:
    value = json.loads(diagnosis(GOOD, BAD).to_json())
    assert (value["is_well"], value["subject"], value["version"]) == (
        False,
        "https://somewhere",
        "1.2",
    )
    assert value["findings"][1] == {
        "check": "wallet",
        "verdict": "problem",
        "summary": "is another's",
        "advice": "set SIGNATURE_TYPE=2",
        "figures": {"funder": "0xB"},
    }


def test_the_text_is_aligned_and_ends_with_the_count() -> None:
    assert str(diagnosis(GOOD, ODD, BAD)).splitlines() == [
        "polyexec 1.2 on https://somewhere",
        "",
        "ok       clock   agrees",
        "warning  limits  none",
        "                 -> set one",
        "problem  wallet  is another's",
        "                 -> set SIGNATURE_TYPE=2",
        "",
        "1 problem, 1 warning.",
    ]


def test_long_text_is_wrapped_and_no_address_broken() -> None:
    address = "0x" + "ab" * 20
    text = str(diagnosis(problem("wallet", f"{address} and " * 4, "x")))
    assert max(map(len, text.splitlines())) <= 100
    assert text.count(address) == 4


def test_nothing_wrong_is_said_so() -> None:
    skipped = Finding(check="tier", verdict=Verdict.SKIPPED, summary="not asked")
    assert str(diagnosis(GOOD, skipped)).endswith("\nNothing is wrong.")
