"""Does the gate keep its promise? False promotions, power, a year of retraining, and where true quality drifts, by rule.

    python benchmarks/gate_statistics.py [--draws 4000] [--only cells,power]

Everything is drawn from populations in which the truth is known (gate_population.py), and judged by the gate's own `measure`. The rules
it is held against: `candidate > champion` on the same rows; the candidate against the number stored when the champion was promoted;
and MLflow's `validate_evaluation_results`. Rewrites its part of RESULTS.md and gate_statistics.json, which docs/gate.svg is drawn from.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from multiprocessing import Pool
from multiprocessing.pool import Pool as Workers
from pathlib import Path
from typing import Any

import numpy as np
from gate_population import POPULATION, Design, fits, judged
from results import keep
from scipy.stats import beta, binom

from kfp_ratchet.components.gate.intervals import Sampling, detectable, measure
from kfp_ratchet.components.gate.metrics import prepare

RAW = Path(__file__).with_suffix(".json")
LEVEL, POWER = 0.05, 0.8
BINARY = ["roc_auc", "average_precision", "log_loss", "accuracy", "f1", "recall@top0.1", "expected_cost"]
RARE = ["roc_auc", "average_precision", "log_loss", "recall@top0.1"]
"""Where positives are rare; both models then answer 0 everywhere, and accuracy cannot tell them apart."""
REGRESSION = ["rmse", "mae"]
CHUNK = 50
Json = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """Draws of one design, judged by some metrics."""

    design: Design
    metrics: list[str]
    limit: bool = False
    """Known to be beyond what the rows can show; in the table, not in the verdict."""


def cells() -> list[Cell]:
    """Metric x rows x correlation x imbalance x clustering, and models that err in different ways."""
    found = []
    for correlation in (0.5, 0.95):
        found += [Cell(Design("binary", rows, correlation), BINARY) for rows in (250, 1000)]
        for rows, prevalence in ((1000, 0.05), (5000, 0.02)):
            found.append(Cell(Design("binary", rows, correlation, prevalence), RARE))
        found += [Cell(Design("regression", rows, correlation), REGRESSION) for rows in (250, 1000, 5000)]
        found.append(Cell(Design("binary", 500, correlation), ["calibration_error"]))
    for clusters, rows, uneven, within in (
        (10, 300, 0.0, 0.3),
        (10, 500, 0.8, 0.6),
        (30, 1500, 0.8, 0.6),
        (150, 3000, 0.8, 0.3),
    ):
        clustered = Design("binary", rows, clusters=clusters, uneven=uneven, within=within)
        found += [Cell(clustered, BINARY[:4]), Cell(replace(clustered, problem="regression"), REGRESSION)]
    for rows, metric in product((250, 1000), ["roc_auc", "average_precision", "log_loss", "rmse", "mae"]):
        problem = "binary" if fits(metric, "binary") else "regression"
        found.append(Cell(Design(problem, rows, unlike=True), [metric], limit=(rows, metric) == (250, "rmse")))
    found.append(Cell(Design("binary", 1000, prevalence=0.03, unlike=True), ["roc_auc"]))
    return found


def _prepared(cell: Cell) -> Cell:
    """Unlike models, made equally good."""
    return replace(cell, design=cell.design.equal(cell.metrics[0])) if cell.design.unlike else cell


def _judge_chunk(design: Design, metrics: list[str], start: int, seed: int = 0) -> list[dict[str, tuple[float, ...]]]:
    """Of each draw and metric: the gain, its ends, and the gain that is said to be detectable."""
    found = []
    for index in range(start, start + CHUNK):
        by_metric = judged(design, metrics, np.random.default_rng([seed, index, design.rows]))
        found.append({metric: _numbers(each["gain"]) for metric, each in by_metric.items()})
    return found


def _numbers(gain: Any) -> tuple[float, ...]:
    ends = gain.interval
    nan = float("nan")
    return (ends.value, nan, nan, nan) if ends.low is None else (ends.value, ends.low, ends.high, detectable(gain))


def _draws(pool: Workers, design: Design, metrics: list[str], draws: int, seed: int = 0) -> dict[str, np.ndarray]:
    chunks = pool.imap(partial(_judge_chunk, design, metrics, seed=seed), range(0, draws, CHUNK))
    rows = [each for chunk in chunks for each in chunk]
    return {metric: np.array([row[metric] for row in rows], dtype=float) for metric in metrics}


def false_promotions(pool: Workers, draws: int) -> list[Json]:
    """Of equal models: how often the candidate is promoted; of unlike ones in both directions."""
    found = []
    for cell in pool.imap(_prepared, cells()):
        for metric, numbers in _draws(pool, cell.design, cell.metrics, draws).items():
            gain, low, high, reach = numbers.T
            sides = [("", low > 0, gain > 0)]
            if cell.design.unlike:
                sides = [(", rare large errors", low > 0, gain > 0), (", many small errors", high < 0, gain < 0)]
            for side, promoted, ahead in sides:
                found.append(
                    {
                        "metric": metric,
                        "design": cell.design.title + side,
                        "rows": cell.design.rows,
                        "correlation": cell.design.correlation,
                        "prevalence": cell.design.prevalence if cell.design.problem == "binary" else None,
                        "clusters": cell.design.clusters,
                        "unlike": cell.design.unlike,
                        "limit": cell.limit and side == ", rare large errors",
                        "draws": len(gain),
                        "promoted": int(promoted.sum()),
                        "point_rule": int(ahead.sum()),
                        "detectable": float(np.nanmedian(reach)),
                    }
                )
        print(f"{cell.design.problem} {cell.design.title}: done", flush=True)
    return found


def _better(design: Design, metric: str, effect: float) -> Design | None:
    """Once more with what is detectable where the candidate is better: its errors differ more from the champion's."""
    try:
        first = design.better(metric, effect)
        reach = [
            _numbers(judged(first, [metric], np.random.default_rng([3, i]))[metric]["gain"])[3] for i in range(200)
        ]
        return design.better(metric, float(np.nanmedian(reach)))
    except ValueError:
        return None


def power(pool: Workers, draws: int) -> list[Json]:
    """Candidates that are better by just what the power calculation names: how often they are promoted."""
    found = []
    metrics = ["roc_auc", "average_precision", "log_loss", "accuracy", "rmse", "mae"]
    designs = [
        *(
            Design("binary", rows, correlation, share)
            for correlation in (0.5, 0.95)
            for rows, share in ((1000, 0.3), (5000, 0.1))
        ),
        *(Design("regression", rows, correlation, tails=6) for correlation in (0.5, 0.95) for rows in (250, 1000)),
    ]
    asked = [(design, metric) for design in designs for metric in metrics if fits(metric, design.problem)]
    null = [_draws(pool, design, [metric], 500, seed=1)[metric] for design, metric in asked]
    starts = [
        (design, metric, float(np.nanmedian(each[:, 3]))) for (design, metric), each in zip(asked, null, strict=True)
    ]
    for (design, metric, _), better in zip(starts, pool.starmap(_better, starts, chunksize=1), strict=True):
        if better is None:
            continue
        gain, low, _, reach = _draws(pool, better, [metric], draws, seed=2)[metric].T
        found.append(
            {
                "metric": metric,
                "design": design.title,
                "true_gain": float(better.true_gain(metric) - design.true_gain(metric)),
                "detectable": float(np.nanmedian(reach)),
                "draws": len(gain),
                "promoted": int((low > 0).sum()),
            }
        )
    return found


def power_curve(pool: Workers, draws: int) -> list[Json]:
    """Promotions by true gain in AUC, 2,000 rows, by rule."""
    design = Design("binary", 2000, 0.8)
    found = []
    for noise in (1.15, 1.1, 1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6):
        this = replace(design, candidate=noise)
        gain, low, high, reach = _draws(pool, this, ["roc_auc"], draws, seed=4)["roc_auc"].T
        found.append(
            {
                "true_gain": this.true_gain("roc_auc") - design.true_gain("roc_auc"),
                "gate": float((low > 0).mean()),
                "point_rule": float((gain > 0).mean()),
                "rejected": float((high <= 0).mean()),
                "detectable": float(np.nanmedian(reach)),
            }
        )
    return found


def mlflow_is_a_point_rule(draws: int) -> Json:
    """Ask MLflow itself, decision by decision; its least allowed change must be positive, so it gets a negligible one."""
    from mlflow.models import MetricThreshold
    from mlflow.models.evaluation import EvaluationResult
    from mlflow.models.evaluation.validation import ModelValidationFailedException, validate_evaluation_results

    asked = {"roc_auc": MetricThreshold(min_absolute_change=1e-12, greater_is_better=True)}
    accepted = agreed = 0
    for index in range(draws):
        found = judged(Design("binary", 500, 0.8), ["roc_auc"], np.random.default_rng([6, index]))["roc_auc"]
        values = {model: found[model].interval.value for model in ("candidate", "champion")}
        results = [EvaluationResult(metrics={"roc_auc": values[m]}, artifacts={}) for m in ("candidate", "champion")]
        try:
            validate_evaluation_results(asked, *results)
            passed = True
        except ModelValidationFailedException:
            passed = False
        accepted += passed
        agreed += passed == (values["candidate"] > values["champion"])
    return {"draws": draws, "promoted": accepted, "as_point_rule": agreed}


def _year(seed: int) -> list[list[int]]:
    """A year of daily retrains of equal models on fresh rows: promotions up to each day, by rule."""
    promoted = {"candidate > champion": 0, "stored champion metric": 0, "gate": 0}
    days, stored = [], -1.0
    for day in range(365):
        found = judged(Design("binary", 1000, 0.8), ["roc_auc"], np.random.default_rng([9, seed, day]))["roc_auc"]
        value = found["candidate"].interval.value
        promoted["candidate > champion"] += found["gain"].interval.value > 0
        promoted["gate"] += found["gain"].interval.low > 0
        if value > stored:
            promoted["stored champion metric"] += day > 0  # the first one had no champion to beat
            stored = value
        days.append(list(promoted.values()))
    return days


def year(pool: Workers, years: int) -> Json:
    found = np.array(pool.map(_year, range(years), chunksize=1), dtype=float)
    rules = ["candidate > champion", "stored champion metric", "gate"]
    return {
        "years": years,
        "rules": {
            rule: {
                "mean": found[:, -1, index].mean(),
                "least": found[:, -1, index].min(),
                "most": found[:, -1, index].max(),
                "by_day": np.round(found[:, ::7, index].mean(axis=0), 2).tolist(),
            }
            for index, rule in enumerate(rules)
        },
    }


RETRAINS, DRIFT_ROWS, LOSS = 50, 2000, 0.005
SPREAD = 0.03
"""Standard deviation of the logarithm of a retrain's noise: in AUC about half of the standard error of a gain on 2,000 rows."""
SCENARIOS: dict[str, tuple[float, Callable[[np.random.Generator, float], float]]] = {
    "candidates around the champion": (0.0, lambda rng, champion: champion + SPREAD * rng.normal()),
    "candidates around a fixed mean, champion typical": (0.0, lambda rng, champion: SPREAD * rng.normal()),
    "candidates around a fixed mean, champion good": (-2 * SPREAD, lambda rng, champion: SPREAD * rng.normal()),
    "candidates a little worse than the champion": (
        0.0,
        lambda rng, champion: champion + SPREAD * (rng.normal() + 0.5),
    ),
}
RULES = ["candidate > champion", "stored champion metric", "strict", "strict, margin 0.005", "fresh"]
VERSUS = {"gain": ("candidate", "champion", 1), "anchor gain": ("candidate", "anchor", 1)}


class Quality:
    """True AUC by the logarithm of a model's noise."""

    def __init__(self) -> None:
        self.at = np.linspace(-2.5, 2.5, 41)
        (signal, label), noise = _signal_of(np.random.default_rng(5), POPULATION)
        ones = np.ones((1, POPULATION))
        self.auc = np.array([prepare("roc_auc", label, signal + np.exp(z) * noise)(ones)[0] for z in self.at])

    def __call__(self, log_noise: float | np.ndarray) -> Any:
        return np.interp(log_noise, self.at, self.auc)


def _signal_of(rng: np.random.Generator, n: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """((signal, label), noise) of n rows, 30 % positive."""
    signal = rng.normal(size=n)
    label = (rng.random(n) < 1 / (1 + np.exp(-(1.5 * signal - 1.14)))).astype(float)
    return (signal, label), rng.normal(size=n)


def _path(scenario: str, rule: str, seed: int) -> tuple[list[float], int, int]:
    """Logarithm of the live model's noise after each retrain, promotions, and how many of them were for the worse."""
    start, propose = SCENARIOS[scenario]
    live = anchor = start
    rng = np.random.default_rng([11, seed, list(SCENARIOS).index(scenario)])
    ones = np.ones((1, DRIFT_ROWS))
    path, promotions, worse, stored = [live], 0, 0, None
    for _ in range(RETRAINS):
        candidate = propose(rng, live)
        (signal, label), common = _signal_of(rng, DRIFT_ROWS)
        own = {name: np.sqrt(0.8) * common + np.sqrt(0.2) * rng.normal(size=DRIFT_ROWS) for name in ("c", "l", "a")}
        models = {
            "candidate": (candidate, "c"),
            "champion": (live, "l"),
            "anchor": (anchor, "l" if anchor == live else "a"),
        }
        statistics = {name: prepare("roc_auc", label, signal + np.exp(z) * own[k]) for name, (z, k) in models.items()}
        values = {name: each(ones)[0] for name, each in statistics.items()}
        value = values["candidate"]
        if stored is None:
            stored = values["champion"]  # the first champion's own number
        if rule == "candidate > champion":
            passed = sets = value > values["champion"]
        elif rule == "stored champion metric":
            passed = sets = value > stored
        else:
            lows = [
                each.interval.low
                for name, each in measure(statistics, VERSUS, Sampling(ones[0])).items()
                if name in VERSUS
            ]
            least = {"strict": 0.0, "strict, margin 0.005": LOSS, "fresh": -LOSS}[rule]
            passed, sets = (
                all(low > bound for low in (lows if rule == "fresh" else lows[:1])) for bound in (least, max(least, 0))
            )
        if passed:
            promotions, worse = promotions + 1, worse + (candidate > live)
            if sets:
                anchor = candidate
            live, stored = candidate, value
        path.append(live)
    return path, promotions, worse


def _path_of(asked: tuple[str, str, int]) -> tuple[list[float], int, int]:
    return _path(*asked)


def drift(pool: Workers, paths: int) -> Json:
    """True AUC of the live model over retrains, by rule."""
    quality = Quality()
    found: Json = {"paths": paths, "rows": DRIFT_ROWS, "margin": LOSS, "scenarios": {}}
    for scenario in SCENARIOS:
        found["scenarios"][scenario] = {}
        for rule in RULES:
            walked = pool.map(_path_of, [(scenario, rule, seed) for seed in range(paths)], chunksize=5)
            auc = quality(np.array([path for path, *_ in walked]))
            change = auc[:, -1] - auc[:, 0]
            below = (np.maximum.accumulate(auc, axis=1) - auc).max(axis=1)
            found["scenarios"][scenario][rule] = {
                "mean": np.round(auc.mean(axis=0), 5).tolist(),
                "tenth": np.round(np.quantile(auc, 0.1, axis=0), 5).tolist(),
                "change": float(change.mean()),
                "error": float(change.std(ddof=1) / np.sqrt(paths)),
                "below_start": float((change < -1e-9).mean()),
                "lost_more_than_margin": float((auc[:, 0] - auc.min(axis=1) > LOSS).mean()),
                "largest_fall": float(np.mean(below)),
                "promotions": float(np.mean([count for _, count, _ in walked])),
                "worse": float(np.mean([worse for *_, worse in walked])),
            }
    return found


def verdict(found: Iterable[Json]) -> tuple[str, list[Json]]:
    """Is any cell above 5 %? By exact binomial tests, corrected by Holm for the number of cells."""
    counted = [cell for cell in found if not cell["limit"]]
    tests = sorted(counted, key=lambda cell: binom.sf(cell["promoted"] - 1, cell["draws"], LEVEL))
    above = []
    for rank, cell in enumerate(tests):
        if binom.sf(cell["promoted"] - 1, cell["draws"], LEVEL) * (len(tests) - rank) > LEVEL:
            break
        above.append(cell)
    worst = max(counted, key=lambda cell: cell["promoted"] / cell["draws"])
    bound = beta.ppf(1 - LEVEL / len(counted), worst["promoted"] + 1, worst["draws"] - worst["promoted"])
    number = f"{len(above) or 'None'} of {len(counted)} cells {'is' if len(above) < 2 else 'are'}"
    text = (
        f"**{number} shown to be above 5 %** (exact binomial tests, Holm over all cells, family-wise 5 %). "
        f"Highest: {worst['promoted'] / worst['draws']:.1%} ({worst['metric']}, "
        f"{worst['design']}), upper bound for all cells at once {bound:.1%}; mean "
        f"{np.mean([cell['promoted'] / cell['draws'] for cell in counted]):.1%}; `candidate > champion`: "
        f"{np.mean([cell['point_rule'] / cell['draws'] for cell in counted]):.0%}."
    )
    return text, above


def report(raw: Json) -> str:
    """The tables of RESULTS.md."""
    seconds = ", ".join(f"{part} {spent} s" for part, spent in raw["seconds"].items())
    lines = [f"{raw['cores']} cores ({seconds}); confidence 95 % of each end, margin 0.", ""]
    if "cells" in raw:
        found = raw["cells"]
        lines += [
            f"### False promotions of an equal model, {found[0]['draws']:,} draws a cell",
            "",
            verdict(found)[0],
            "",
        ]
        lines += ["| metric | design | gate | `candidate > champion` | detectable gain |", "|---|---|---|---|---|"]
        for cell in found:
            rate, naive = (cell[key] / cell["draws"] for key in ("promoted", "point_rule"))
            mark = " (known limit, not in the verdict)" if cell["limit"] else ""
            lines.append(
                f"| {cell['metric']} | {cell['design']}{mark} | {rate:.1%} | {naive:.0%} | {cell['detectable']:.3g} |"
            )
        lines.append("")
    if "power" in raw:
        lines += ["### Power at the gain that the power calculation names (80 % is asked for)", ""]
        shares = [cell["promoted"] / cell["draws"] for cell in raw["power"]]
        short = sum(
            bool(binom.cdf(cell["promoted"], cell["draws"], POWER) * len(shares) <= LEVEL) for cell in raw["power"]
        )
        lines += [
            f"Least {min(shares):.0%}, mean {np.mean(shares):.0%}; {short} of {len(shares)} cells shown to be below.",
            "",
        ]
        lines += ["| metric | design | true gain | promoted |", "|---|---|---|---|"]
        for cell in raw["power"]:
            lines.append(
                f"| {cell['metric']} | {cell['design']} | {cell['true_gain']:.3g} | {cell['promoted'] / cell['draws']:.0%} |"
            )
        lines.append("")
    if "curve" in raw:
        lines += ["### Promotions by true gain in roc_auc, 2,000 rows", ""]
        lines += ["| true gain | gate | `candidate > champion` |", "|---|---|---|"]
        lines += [f"| {p['true_gain']:+.4f} | {p['gate']:.1%} | {p['point_rule']:.1%} |" for p in raw["curve"]] + [""]
    if "mlflow" in raw:
        asked = raw["mlflow"]
        lines += [
            "### MLflow's `validate_evaluation_results`",
            "",
            f"With the least change it takes it promoted {asked['promoted']} of {asked['draws']} equal candidates, and decided as "
            f"`candidate > champion` in {asked['as_point_rule']} of {asked['draws']}: a rule on two points.",
            "",
        ]
    if "year" in raw:
        lines += [
            f"### A year of daily retrains of equal models, 1,000 fresh rows a day, {raw['year']['years']} years",
            "",
        ]
        lines += ["| rule | promotions a year, all of them false | fewest to most |", "|---|---|---|"]
        for rule, counts in raw["year"]["rules"].items():
            lines.append(f"| {rule} | {counts['mean']:.0f} | {counts['least']:.0f} to {counts['most']:.0f} |")
        lines.append("")
    if "drift" in raw:
        lines += [
            f"### True AUC of the live model over {RETRAINS} retrains, {DRIFT_ROWS:,} fresh rows each, {raw['drift']['paths']} paths",
            "",
            f"`fresh` allows a loss of {LOSS:g}. Expected change with its standard error. A champion that is far better than what the "
            "pipeline now makes is lost slowest by `strict`, and kept by a margin.",
            "",
            "| candidates | rule | change | promotions | for the worse | paths that ended lower | ever lost more than the margin |",
            "|---|---|---|---|---|---|---|",
        ]
        for scenario, rules in raw["drift"]["scenarios"].items():
            for rule, each in rules.items():
                lines.append(
                    f"| {scenario} | {rule} | {each['change']:+.4f} ± {each['error']:.4f} | {each['promotions']:.1f} | "
                    f"{each['worse']:.1f} | {each['below_start']:.0%} | {each['lost_more_than_margin']:.0%} |"
                )
    return "\n".join(lines).rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=4000, help="a cell")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run; the others keep their last numbers")
    parser.add_argument("--dry", action="store_true", help="print and keep nothing")
    args = parser.parse_args()
    raw: Json = json.loads(RAW.read_text()) if RAW.exists() and not args.dry else {"seconds": {}}
    raw |= {"cores": os.cpu_count(), "level": LEVEL}
    with Pool(2) as pool:
        for part in args.only.split(","):
            began = time.monotonic()
            raw[part] = PARTS[part](pool, args.draws)
            raw["seconds"][part] = round(time.monotonic() - began)
            if not args.dry:
                RAW.write_text(json.dumps(raw, indent=1) + "\n")
    if args.dry:
        print(report(raw))
    else:
        keep(Path(__file__).name, report(raw))


PARTS: dict[str, Callable[[Workers, int], Any]] = {
    "cells": false_promotions,
    "mlflow": lambda _, draws: mlflow_is_a_point_rule(min(draws // 8, 500)),
    "year": lambda pool, draws: year(pool, max(draws // 100, 2)),
    "drift": lambda pool, draws: drift(pool, max(draws // 20, 10)),
    "power": lambda pool, draws: power(pool, draws // 2),
    "curve": lambda pool, draws: power_curve(pool, draws // 2),
}

if __name__ == "__main__":
    main()
