"""Draw ``latest.json`` as ``latest.svg``: every row beside its baselines."""

import json
import sys

from benchmarks import harness


def main() -> int:
    """Write the picture and print its path."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise SystemExit("bench-plot needs matplotlib: pip install 'polyexec[bench]'") from None
    mpl.use("svg")
    from matplotlib import pyplot

    data = json.loads(harness.LATEST.read_text())
    bars = [
        (f"{row['name']}: {who}", median, who == "polyexec")
        for row in data["rows"]
        for who, median in {"polyexec": row["median_us"], **row["baselines"]}.items()
    ][::-1]
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.26 * len(bars)), layout="constrained")
    labels = [label for label, _, _ in bars]
    colours = ["tab:blue" if own else "lightgrey" for _, _, own in bars]
    drawn = axes.barh(labels, [median for _, median, _ in bars], color=colours)
    axes.bar_label(drawn, fmt="%.2f", padding=3, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("median, microseconds per call (logarithmic)")
    where = data["environment"]
    axes.set_title(f"{where['cpu']}, {where['date']}", fontsize=9)
    target = harness.LATEST.with_suffix(".svg")
    figure.savefig(target)
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
