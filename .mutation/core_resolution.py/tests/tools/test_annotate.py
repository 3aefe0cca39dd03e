"""The check of hot functions sees a new interpreter call, and nothing else."""

import pytest

from tests.tools.load import ROOT, load_tool

annotate = load_tool("annotate")

SOURCE = """\
cdef int cold(int x):
    return x

cdef int quick(
    int x,
) noexcept nogil:  # hot
    cdef int y = x + 1

    return y

# hot
cdef object slow(object x):
    return x + 1

def after():
    return 1
"""


def page_of(scores: dict[int, int], source: str = SOURCE) -> str:
    return "".join(
        f"<pre class=\"cython line score-{scores.get(number, 0)}\" onclick='x'>"
        f'+<span class="">{number:02}</span>: <span class="k">{text}</span></pre>'
        for number, text in enumerate(source.splitlines(), start=1)
    )


def test_extent_of_marked_functions() -> None:
    assert annotate.hot_functions(SOURCE) == {"quick": range(4, 10), "slow": range(12, 14)}


def test_only_yellow_lines_of_hot_functions_count() -> None:
    page = page_of({2: 50, 7: 0, 13: 3, 16: 9})
    assert annotate.yellow_lines(SOURCE, page) == {"quick": {}, "slow": {"return x + 1": 3}}


def test_a_new_yellow_line_is_a_fault() -> None:
    before = {"quick": {}, "slow": {"return x + 1": 3}}
    now = annotate.yellow_lines(SOURCE, page_of({7: 5, 13: 4}))
    faults = annotate.growth(before, now)
    assert [fault.split(":")[0] for fault in faults] == ["quick", "slow"]
    assert annotate.growth(now, now) == []
    assert len(annotate.growth(before, now, same_cython=False)) == 1


def test_a_line_that_moved_is_no_fault() -> None:
    before = annotate.yellow_lines(SOURCE, page_of({13: 3}))
    moved = f"import math\n\n{SOURCE}"
    now = annotate.yellow_lines(moved, page_of({15: 3}, moved))
    assert now["slow"] == {"return x + 1": 3}
    assert annotate.growth(before, now) == []


def test_a_mark_without_function_is_refused() -> None:
    with pytest.raises(SystemExit, match="marks no function"):
        annotate.hot_functions("x = 1  # hot\n")


def test_hot_functions_of_the_library_match_the_baseline() -> None:
    modules = sorted((ROOT / "src/polyexec/_fast").glob("*.pyx"))
    marked = {path.stem: annotate.hot_functions(path.read_text()) for path in modules}
    assert all(marked.values()), "a module without a hot function is not guarded"
    baseline = annotate.json.loads(annotate.BASELINE.read_text())["modules"]
    assert {name: set(functions) for name, functions in marked.items()} == {
        name: set(functions) for name, functions in baseline.items()
    }
