"""The package loads its parts when they are used, and no sooner."""

import subprocess
import sys

import pytest

from polyexec import paper


def test_every_name_is_there() -> None:
    assert set(paper.__all__) <= set(dir(paper))
    for name in paper.__all__:
        assert getattr(paper, name).__module__.startswith("polyexec.paper.")
    with pytest.raises(AttributeError, match="Nothing"):
        _ = paper.Nothing  # type: ignore[attr-defined]


def test_importing_polyexec_does_not_load_the_exchange() -> None:
    program = (
        "import sys, polyexec\n"
        "print(sorted({'trustme', 'polyexec.paper.embedded'} & set(sys.modules)))\n"
        "print(polyexec.paper.PaperExchange.__name__, 'polyexec.paper.server' in sys.modules)"
    )
    lines = subprocess.check_output([sys.executable, "-c", program], text=True).splitlines()
    assert lines == ["[]", "PaperExchange True"]
