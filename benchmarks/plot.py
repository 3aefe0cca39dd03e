"""Draw ``latest.json`` as ``latest.svg``: what each stage costs, contestants side by side."""

import json
import sys
from typing import Any

from benchmarks import harness


def main() -> int:
    """Write the picture and print its path."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise SystemExit("bench-plot needs matplotlib: pip install 'polyexec[bench]'") from None
    mpl.use("svg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    data = json.loads(harness.LATEST.read_text())
    stages = [(row["name"], contestants(row)) for row in data["rows"]]
    names = list(dict.fromkeys(who for _, bars in stages for who in bars))
    palette = dict(zip(names, mpl.colormaps["tab20"].colors * len(names), strict=False))
    height = 1.5 + 0.2 * sum(len(bars) + 1 for _, bars in stages)
    figure, axes = pyplot.subplots(figsize=(10, height), layout="constrained")
    middles, offset = [], 0
    for _, bars in stages:
        places = range(offset, offset + len(bars))
        colours = [palette[who] for who in bars]
        drawn = axes.barh(places, list(bars.values()), color=colours)
        axes.bar_label(drawn, fmt="%.2f", padding=3, fontsize=7)
        middles.append(offset + (len(bars) - 1) / 2)
        offset += len(bars) + 1
    axes.set_yticks(middles, [stage for stage, _ in stages])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.1)
    axes.set_xlabel("median, microseconds per call (logarithmic)")
    keys = [Patch(color=palette[who], label=who) for who in names]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, fontsize=8)
    where = data["environment"]
    axes.set_title(f"{where['cpu']}, {where['date']}", fontsize=9)
    target = harness.LATEST.with_suffix(".svg")
    figure.savefig(target)
    pyplot.close(figure)
    print(target)
    return 0


def contestants(row: dict[str, Any]) -> dict[str, float]:
    """Return the medians of a row: ours, its floor's, and the others'."""
    floor = {"floor": row["floor"]["median_us"]} if row["floor"] else {}
    return {"polyexec": row["median_us"], **floor, **row["baselines"]}


if __name__ == "__main__":
    sys.exit(main())
