"""Draw docs/gate.svg and write the numbers of docs/gate.md and docs/ledger.md, from gate_statistics.json and RESULTS.md.

    python benchmarks/gate_picture.py

The pages quote nothing by hand: what stands between `<!-- name -->` and `<!-- end -->` is written here, and a test compares it.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kfp_ratchet.components.gate.intervals import Sampling, measure, rows_to_decide
from kfp_ratchet.components.gate.metrics import prepare

ROOT = Path(__file__).parent.parent
STATISTICS = ROOT / "benchmarks" / "gate_statistics.json"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
PICTURE = ROOT / "docs" / "gate.svg"
PAGES = (ROOT / "docs" / "gate.md", ROOT / "docs" / "ledger.md")

FAULTS = "fault_counts.py"

INK, MUTED, GRID = "#1c2430", "#5b6677", "#c3cad6"
_DARK = {INK: "#e8ecf3", MUTED: "#9aa6b8", GRID: "#3b4657"}
"""What text and lines become on a dark page; the rules' own colours are readable on both."""
NAIVE, STORED = "candidate > champion", "stored champion metric"
COLOURS = {"gate": "#2f9e63", "strict": "#2f9e63", "fresh": "#3b82d6", NAIVE: "#d9822b", STORED: "#c2477a"}
_WORDS = {
    "gate": "the gate",
    "strict": "strict",
    "fresh": "fresh",
    NAIVE: NAIVE,
    STORED: "the champion's stored number",
}
_SHORT = {**_WORDS, "gate": "gate", NAIVE: "cand. > champ.", STORED: "stored number"}
_SHOWN_SCENARIO = "candidates a little worse than the champion"


def blocks(statistics: Mapping[str, Any], results: str) -> dict[str, str]:
    """The generated parts of the pages, by name."""
    return {
        "false promotions": false_promotions(statistics),
        "rows needed": rows_needed(),
        "power and drift": power_and_drift(statistics),
        "faults": section(results, FAULTS),
    }


def filled(page: str, parts: Mapping[str, str]) -> str:
    """A page with its generated parts replaced."""
    for name, text in parts.items():
        pattern = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)"
        page = re.sub(pattern, lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page, flags=re.DOTALL)
    return page


def rows_needed() -> str:
    """Rows for a gain in accuracy, by how often two models disagree: McNemar's variance, as the gate reckons it."""
    gains, shares = (0.005, 0.01, 0.02, 0.05), (0.05, 0.1, 0.2)
    head = ["models disagree on", *(f"{100 * gain:g} % better" for gain in gains)]
    lines = [head, ["---", *("---:" for _ in gains)]]
    for share in shares:
        lines.append([f"{share:.0%} of rows", *(_needed(gain, share) for gain in gains)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_FEWEST = 400
"""So that each gain and share below is a whole number of rows."""


def _needed(gain: float, share: float) -> str:
    if gain > share:
        return "-"
    rows = _FEWEST
    for _ in range(4):  # what few rows say of many is a little off, so what they name is tried
        needed = _named(rows, gain, share)
        rows = max(_FEWEST, needed // _FEWEST * _FEWEST)
    if needed <= _FEWEST:
        return f"at most {_FEWEST}"
    step = 10 ** (len(str(needed)) - 2)
    return f"{-(-needed // step) * step:,}"


def _named(rows: int, gain: float, share: float) -> int:
    """Rows that the gate asks for when it sees this gain on so many."""
    apart, ahead = round(share * rows), round(gain * rows)
    label, candidate, champion = np.ones(rows), np.ones(rows), np.ones(rows)
    candidate[: (apart - ahead) // 2] = 0
    champion[(apart - ahead) // 2 : apart] = 0
    sampling = Sampling(np.ones(rows))
    statistics = {name: prepare("accuracy", label, one) for name, one in (("own", candidate), ("other", champion))}
    found = measure(statistics, {"gain": ("own", "other", 1)}, sampling)["gain"]
    needed = rows_to_decide(found, 0.0, sampling)
    assert needed is not None
    return needed.rows


def section(results: str, name: str) -> str:
    """The text of a section of RESULTS.md, or how to get one."""
    found = re.search(rf"^## {re.escape(name)}\n\n(.*?)(?=^## |\Z)", results, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else f"Not measured yet: run `python benchmarks/{name}`."


def stamp(statistics: bytes, results: str) -> str:
    """What the picture carries to show what it was drawn from."""
    drawn_from = hashlib.sha256(statistics + section(results, FAULTS).encode())
    return f"drawn from {STATISTICS.name} and {RESULTS.name}: {drawn_from.hexdigest()[:16]}"


def faults(results: str) -> dict[str, tuple[int, int]]:
    """Cases and violations by what was killed, from the table of RESULTS.md."""
    rows = re.findall(r"^\| (.+?) \| \S+ \| ([\d,]+) \| ([\d,]+) \|$", section(results, FAULTS), re.MULTILINE)
    return {name: (int(cases.replace(",", "")), int(wrong.replace(",", ""))) for name, cases, wrong in rows}


def false_promotions(statistics: Mapping[str, Any]) -> str:
    """How often equal models are promoted, in words and by kind of cell."""
    cells = [cell for cell in statistics["cells"] if not cell["limit"]]
    groups = {
        "independent rows": [c for c in cells if not c["clusters"] and not c["unlike"]],
        "clusters of rows": [c for c in cells if c["clusters"]],
        "a candidate whose errors are of another make": [c for c in cells if c["unlike"]],
    }
    lines = [
        f"How often is an *equal* model promoted all the same? {len(cells)} combinations of metric, number of rows, likeness of the "
        f"models, imbalance and clustering, {cells[0]['draws']:,} draws each:",
        "",
        "| equal models, compared on | combinations | `candidate > champion` | gate, mean | gate, worst |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, group in groups.items():
        naive, ours = (_rates(group, key) for key in ("point_rule", "promoted"))
        lines.append(f"| {name} | {len(group)} | {naive.mean():.0%} | {ours.mean():.1%} | {ours.max():.1%} |")
    year, mlflow = statistics["year"], statistics["mlflow"]
    counts = [
        f"{year['rules'][rule]['mean']:.0f} by {said}"
        for rule, said in (
            (NAIVE, f"`{NAIVE}`"),
            (STORED, _WORDS[STORED]),
            ("gate", "the gate"),
        )
    ]
    lines += [
        "",
        f"In a year of daily retrains of equal models, all promotions are for nothing: {', '.join(counts)}. (The stored number promotes "
        "few because one lucky score keeps out all that come after it, better ones as well.) MLflow's "
        f"`validate_evaluation_results` decides as `candidate > champion` does ({mlflow['as_point_rule']} of {mlflow['draws']} decisions).",
    ]
    if limits := [cell for cell in statistics["cells"] if cell["limit"]]:
        worst = max(limits, key=lambda cell: cell["promoted"] / cell["draws"])
        lines += [
            "",
            f"Where it fails: when a few percent of the rows hold most of the error and the sample is small ({worst['metric']}, "
            f"{worst['rows']:,} rows), {worst['promoted'] / worst['draws']:.0%} of equal candidates are promoted. That is "
            "an example, no bound: of equal candidates that are certain and wrong on one row in 200, 16% are promoted by log_loss on 400 "
            "rows. No method sees what the rows do not show.",
        ]
    return "\n".join(lines)


def power_and_drift(statistics: Mapping[str, Any]) -> str:
    """What the simulation says of power and drift."""
    power = _rates(statistics["power"], "promoted")
    drift = statistics["drift"]
    rules = list(_scenarios(statistics)[_SHOWN_SCENARIO])
    retrains = len(_scenarios(statistics)[_SHOWN_SCENARIO]["strict"]["mean"]) - 1
    lines = [
        f"- **Power**: at the gain that a decision calls detectable, {power.mean():.0%} are promoted ({power.min():.0%} to "
        f"{power.max():.0%} over {len(power)} combinations; 80 % is promised).",
        f"- **Drift**: true AUC of the live model after {retrains} retrains on "
        f"{drift['rows']:,} fresh rows each, mean of {drift['paths']} paths; `fresh` with a margin of {drift['margin']:g}:",
        "",
        f"| candidates | {' | '.join(rules)} |",
        f"| --- | {' | '.join('---:' for _ in rules)} |",
    ]
    for scenario, by_rule in _scenarios(statistics).items():
        changes = (f"{by_rule[rule]['change']:+.4f}" for rule in rules)
        lines.append(f"| {scenario} | {' | '.join(changes)} |")
    return "\n".join(lines)


_DRIFT_RULES = (NAIVE, STORED, "strict", "fresh")


def _scenarios(statistics: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = statistics["drift"]["scenarios"]
    return found


def _rates(cells: list[Any], key: str) -> np.ndarray:
    return np.array([cell[key] / cell["draws"] for cell in cells])


def draw(statistics: Mapping[str, Any], killed: Mapping[str, tuple[int, int]], drawn_from: str) -> str:
    """The picture as SVG: readable on light and dark pages."""
    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "gate",
            "font.family": ["sans-serif"],
            "font.size": 10,
            **dict.fromkeys(("text.color", "axes.titlecolor"), INK),
            **dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color"), MUTED),
            **dict.fromkeys(("axes.edgecolor", "grid.color"), GRID),
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    heights = [1, 1, 0.9] if killed else [1, 1]
    figure = Figure(figsize=(11, 3.8 * sum(heights)), layout="constrained")
    figure.patch.set_alpha(0)
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.12, wspace=0.04, hspace=0.06)
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    panels = [
        (grid[place], partial(panel, statistics=statistics)) for place, panel in zip(_PLACES, _PANELS, strict=True)
    ]
    if killed:
        panels.append((grid[2, :], partial(_faults, killed=killed)))
    for place, panel in panels:
        axes = figure.add_subplot(place)
        axes.patch.set_alpha(0)
        axes.grid(True, linewidth=0.6)
        axes.set_axisbelow(True)
        panel(axes)
    file = StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Description": drawn_from})
    return _themed(file.getvalue())


def _cells(axes: Axes, statistics: Mapping[str, Any]) -> None:
    cells = [cell for cell in statistics["cells"] if not cell["limit"]]
    jitter = np.random.default_rng(0)
    for place, (rule, key) in enumerate({NAIVE: "point_rule", "gate": "promoted"}.items()):
        shares = 100 * _rates(cells, key)
        heights = place + 0.3 * (jitter.random(len(shares)) - 0.5)
        axes.scatter(shares, heights, s=18, color=COLOURS[rule], alpha=0.75, linewidths=0)
        said = f"{_WORDS[rule]}: mean {shares.mean():.0f} %, worst {shares.max():.0f} %"
        axes.text(6 if place else 63, place + 0.28, said, ha="left" if place else "right", color=COLOURS[rule])
    axes.axvline(5, color=MUTED, linewidth=1, linestyle="--")
    axes.text(6, -0.42, "5 % is promised", color=MUTED)
    axes.set_yticks([])
    axes.set_ylim(-0.55, 1.6)
    axes.set_xlim(-1, 64)
    axes.set_xlabel("equal models promoted, % of draws; one dot a combination")
    axes.set_title(f"An equal model is promoted, in {len(cells)} combinations", loc="left")


def _year(axes: Axes, statistics: Mapping[str, Any]) -> None:
    rules = statistics["year"]["rules"]
    for rule, counts in rules.items():
        axes.plot(1 + 7 * np.arange(len(counts["by_day"])), counts["by_day"], color=COLOURS[rule], linewidth=2)
    axes.set_ylim(0, None)
    _name_lines(axes, {rule: (counts["by_day"][-1], f"{counts['mean']:.0f}") for rule, counts in rules.items()}, 365)
    axes.set_xticks([0, 90, 180, 270, 365])
    axes.set_xlabel("day")
    axes.set_ylabel("promotions so far, all for nothing")
    axes.set_title("A year of daily retrains of equal models", loc="left")


def _drift(axes: Axes, statistics: Mapping[str, Any]) -> None:
    rules = _scenarios(statistics)[_SHOWN_SCENARIO]
    for rule in _DRIFT_RULES:
        axes.plot(rules[rule]["mean"], color=COLOURS[rule], linewidth=2)
    start, margin = rules["strict"]["mean"][0], statistics["drift"]["margin"]
    axes.axhline(start - margin, color=MUTED, linewidth=1, linestyle="--")
    axes.text(0.5, start - margin, f"start minus {margin:g}, the margin of fresh", color=MUTED, va="top")
    _name_lines(axes, {rule: (rules[rule]["mean"][-1], f"{rules[rule]['change']:+.4f}") for rule in _DRIFT_RULES}, 50)
    axes.set_xticks(range(0, 51, 10))
    axes.set_xlabel("retrain; candidates are a little worse than the champion, on average")
    axes.set_ylabel("true AUC of the live model, mean")
    axes.set_title("Fifty retrains", loc="left")


def _power(axes: Axes, statistics: Mapping[str, Any]) -> None:
    curve = sorted(statistics["curve"], key=lambda point: point["true_gain"])
    gains = [point["true_gain"] for point in curve]
    for rule, key, at, side in ((NAIVE, "point_rule", 75, "right"), ("gate", "gate", 45, "left")):
        shares = [100 * point[key] for point in curve]
        axes.plot(gains, shares, color=COLOURS[rule], linewidth=2, marker="o", markersize=3)
        x = float(np.interp(at, shares, gains))
        _beside(axes, x, at, _WORDS[rule], COLOURS[rule], side)
    reach = next(point["detectable"] for point in curve if abs(point["true_gain"]) < 1e-12)
    axes.axvline(reach, color=MUTED, linewidth=1, linestyle="--")
    _beside(axes, reach, 10, f"{reach:.3f}: what a decision\ncalls detectable", MUTED, "left")
    axes.axvline(0, color=MUTED, linewidth=1)
    _beside(axes, 0, 94, "equal models", MUTED, "right")
    axes.set_ylim(-2, 102)
    axes.set_xlabel("true gain in roc_auc over the champion, 2,000 rows")
    axes.set_ylabel("promoted, %")
    axes.set_title("Real gains are seen", loc="left")


def _faults(axes: Axes, killed: Mapping[str, tuple[int, int]]) -> None:
    names = list(killed)[::-1]
    cases, wrong = (np.array([killed[name][index] for name in names]) for index in (0, 1))
    axes.barh(range(len(names)), cases, color=COLOURS["gate"], height=0.62)
    axes.barh(range(len(names)), wrong, color=COLOURS[STORED], height=0.62)
    for place, name in enumerate(names):
        _beside(
            axes,
            float(cases[place]),
            place,
            f"{name}: {cases[place]:,}, {wrong[place]} wrong afterwards",
            MUTED,
            "left",
        )
    axes.set_yticks([])
    axes.set_xlim(0, 2 * cases.max())
    axes.grid(False, axis="y")
    axes.set_xlabel("times killed, at every write or at any instant, then started again")
    axes.set_title(f"Killed {cases.sum():,} times while a model goes live: {wrong.sum()} violations", loc="left")


def _beside(axes: Axes, x: float, y: float, text: str, colour: str, side: str) -> None:
    """Text to the left of a point (`side` right: its right end is there) or to the right of it."""
    offset = (6 if side == "left" else -6, 0)
    axes.annotate(text, (x, y), xytext=offset, textcoords="offset points", ha=side, va="center", color=colour)


def _name_lines(axes: Axes, ends: Mapping[str, tuple[float, str]], last: float) -> None:
    """Name lines at their right ends, in a margin, none above another."""
    axes.set_xlim(0, last * 1.62)
    low, high = axes.get_ylim()
    step, free = 0.065 * (high - low), low
    for rule, (y, number) in sorted(ends.items(), key=lambda end: end[1][0]):
        place = max(y, free)
        axes.text(last * 1.02, place, f"{_SHORT[rule]} {number}", color=COLOURS[rule], va="center")
        free = place + step


_PLACES: list[tuple[int, Any]] = [(0, 0), (0, 1), (1, 0), (1, 1)]
_PANELS = (_cells, _year, _drift, _power)


def _themed(svg: str) -> str:
    """Colours of text and lines as variables that follow the reader's theme."""
    names = {colour: f"--c{index}" for index, colour in enumerate(_DARK)}
    light = "".join(f"{name}:{colour};" for colour, name in names.items())
    dark = "".join(f"{name}:{_DARK[colour]};" for colour, name in names.items())
    for colour, name in names.items():
        svg = svg.replace(colour, f"var({name})")
    style = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}text{{font-family:system-ui,sans-serif}}</style>"
    return re.sub(r"(<svg [^>]*>)", lambda found: found[1] + style, svg, count=1)


def main() -> None:
    content = STATISTICS.read_bytes()
    statistics = json.loads(content)
    results = RESULTS.read_text()
    PICTURE.write_text(draw(statistics, faults(results), stamp(content, results)))
    parts = blocks(statistics, results)
    for path in PAGES:
        path.write_text(filled(path.read_text(), parts))


if __name__ == "__main__":
    main()
