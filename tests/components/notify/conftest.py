"""Runs as the steps leave them in a store: real journal records, invented findings."""

import contextlib
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kfp_ratchet.components.shared.errors import BlockedError, InputError, RatchetError
from kfp_ratchet.components.shared.journal import journal

DIGEST = "sha256:" + "4f9a2c61" * 8
OLD_DIGEST = "sha256:" + "b81d07e3" * 8
INPUTS = {
    "validate": ["ingest"],
    "prepare": ["validate"],
    "tune": ["prepare"],
    "train": ["prepare"],
    "evaluate": ["prepare", "train"],
    "gate": ["evaluate"],
    "register": ["train", "gate"],
    "deploy": ["evaluate", "gate"],
}


def leave(store: Path, run: str, step: str, line: str, details: dict[str, Any], *, made: dict[str, str], error=None):
    """Run one step's journal; `made` says which run made each earlier step's outputs."""
    inputs = {name: f"/runs/{made.get(name, run)}/{name}/out" for name in INPUTS.get(step, [])}
    with (
        contextlib.suppress(RatchetError, ZeroDivisionError),
        journal(str(store), f"/runs/{run}/{step}/out", inputs) as open_step,
    ):
        open_step.found(line, **details)
        if error is not None:
            raise error


def decision(verdict: str, **changes: Any) -> dict[str, Any]:
    gain = {
        "promote": (0.0077, 0.0049, 0.0105),
        "reject": (-0.0021, -0.0055, -0.0002),
        "inconclusive": (0.0011, -0.0012, 0.0034),
    }
    value, low, high = gain[verdict]
    said = {
        "promote": f"Promoted: roc_auc 0.7012 beats the champion's (v3) 0.6935 by {value} [{low}, {high}] on 24,312 rows.",
        "reject": f"Rejected: roc_auc 0.6914 does not beat the champion's (v3) 0.6935: gain {value} [{low}, {high}] on 24,312 rows.",
        "inconclusive": f"Inconclusive: the gain of {value} [{low}, {high}] may be on either side of the margin 0;"
        " about 90,000 rows would decide it.",
    }
    carriers = {
        "UA": (0.0091, 0.0031, 0.0151),
        "B6": (0.0062, 0.0004, 0.0121),
        "EV": (0.0102, 0.0045, 0.0159),
        "DL": (0.0041, -0.0027, 0.0108),
        "AA": (0.0018, -0.0072, 0.0109),
        "OO": (None, None, None),
    }
    return {
        "verdict": verdict,
        "reason": said[verdict],
        "checks": [
            {
                "name": "candidate is sane",
                "outcome": "pass",
                "reason": "Scores are finite, within [0, 1], not constant, and repeat.",
            },
            {
                "name": "enough rows",
                "outcome": "pass",
                "reason": "24,312 rows, at least 200 asked.",
                "observed": {"value": 24312},
                "bound": 200,
            },
            {
                "name": "gain",
                "outcome": {"promote": "pass", "reject": "fail", "inconclusive": "unknown"}[verdict],
                "reason": f"The gain's interval [{low}, {high}] is held against the margin 0.",
                "observed": {"value": value, "low": low, "high": high},
                "bound": 0.0,
            },
            {
                "name": "latency",
                "outcome": "pass",
                "reason": "95 % of single-row predictions take at most 3.1 ms.",
                "observed": {"value": 3.1},
                "bound": 20.0,
            },
            *(
                {
                    "name": f"slice carrier={name}",
                    "outcome": "pass" if v[0] else "unknown",
                    "reason": "Not worse than the margin -0.02 allows."
                    if v[0]
                    else "12 rows are too few to judge (at least 200).",
                    "observed": {"value": v[0], "low": v[1], "high": v[2]},
                    "bound": -0.02,
                }
                for name, v in carriers.items()
            ),
        ],
        "metric": "roc_auc",
        "candidate": {"value": 0.6935 + value, "low": 0.6935 + value - 0.0068, "high": 0.6935 + value + 0.0068},
        "champion": {"value": 0.6935, "low": 0.6866, "high": 0.7004},
        "gain": {"value": value, "low": low, "high": high},
        "margin": 0.0,
        "confidence": 0.95,
        "rows": 24312,
        "accepted_rows": 327346,
        "candidate_digest": DIGEST,
        "champion_version": "3",
        "champion_digest": OLD_DIGEST,
        "revision": "sha256:" + "1a2b3c4d" * 8,
        "evidence_digest": "sha256:" + "77aa01bc" * 8,
        "policy_digest": "sha256:" + "90fe12ab" * 8,
        "policy": {"metric": "roc_auc", "margin": 0.0, "confidence": 0.95, "slices": {"margin": 0.02, "min_rows": 200}},
        **changes,
    }


BEST = {
    "layers": 2,
    "width": 128,
    "dropout": 0.21,
    "learning_rate": 0.00231,
    "batch_size": 1024,
    "weight_decay": 1.2e-05,
}


def calibration(off: float) -> list[dict[str, float]]:
    """Bins of a model whose probabilities are `off` by so much."""
    found = []
    for i in range(9):
        observed, reach = 0.05 + i / 10 + off * math.sin(i), 0.01 + 0.006 * i
        found.append(
            {
                "bin": i,
                "predicted": 0.05 + i / 10,
                "observed": observed,
                "low": max(0.0, observed - reach),
                "high": min(1.0, observed + reach),
                "count": 4000 - 390 * i,
            }
        )
    return found


def findings(verdict: str = "promote") -> dict[str, tuple[str, dict[str, Any]]]:
    """Line and details of every step of a run that ends with this verdict."""
    trials = [
        {
            "number": i,
            "state": "PRUNED" if i % 3 == 2 else "COMPLETE",
            "value": 0.512 + 0.05 * math.exp(-i / 4) + 0.012 * ((i * 7) % 5) / 5,
            "parameters": {
                **BEST,
                "width": 32 * (1 + i % 4),
                "dropout": 0.05 * (i % 7),
                "learning_rate": 0.0005 * (1 + i),
            },
            "seconds": 8.1 + i / 3,
            "epochs": 4 + i % 6,
        }
        for i in range(20)
    ]
    card = {
        "workload": "tabular",
        "rows": 303034,
        "revision": "sha256:" + "1a2b3c4d" * 8,
        "parameters": BEST,
        "seed": 7,
        "device": "cpu",
        "split_rule": "time: evaluated on the last 14d (2013-10-17 to 2013-10-31), trained on all before",
        "code": {"kfp-ratchet": "0.1.0", "torch": "2.13.0"},
    }
    judged = decision(verdict)
    version = {} if verdict == "promote" else {"entry": 7}
    return {
        "pin": (
            "revision 1a2b3c4d, 10 files; champion v3 (epoch 5)",
            {
                "revision": card["revision"],
                "window": '{"evaluate":"14d","end":"2013-10-31"}',
                "champion_version": "3",
                "epoch": 5,
                "files": 10,
            },
        ),
        "ingest": (
            "336,776 rows, 19 columns from 10 files",
            {
                "revision": card["revision"],
                "tables": {
                    "flights": {"rows": 336776, "columns": {"flight_id": "Int64"}, "files": 10},
                    "weather": {"rows": 26115, "columns": {"wind_speed": "Float64"}, "files": 1},
                },
            },
        ),
        "validate": (
            "336,761 of 336,776 rows accepted, 15 quarantined",
            {
                "tables": {
                    "flights": {"rows": 336776, "accepted": 336761, "quarantined": 15},
                    "weather": {"rows": 26115, "accepted": 26115, "quarantined": 0},
                },
                "failures": [
                    {
                        "table": "flights",
                        "column": "air_time",
                        "check": "in_range(20, 700)",
                        "count": 15,
                        "share": 15 / 336776,
                        "examples": [
                            {
                                "flight_id": 31 * i,
                                "carrier": "UA",
                                "origin": "EWR",
                                "dest": "BDL",
                                "air_time": -i,
                                "tailnum": None,
                            }
                            for i in range(1, 4)
                        ],
                    }
                ],
                "checks": [
                    {"name": "unique", "outcome": "pass", "reason": "flight_id is unique."},
                    {
                        "name": "leakage",
                        "outcome": "pass",
                        "reason": "The strongest feature alone has AUC 0.64 (dep_hour).",
                    },
                ],
                "policy": {"on_failure": "quarantine"},
            },
        ),
        "prepare": (
            "327,346 model rows, 23 columns by features.sql",
            {"rows": 327346, "columns": {"late": "Boolean"}, "recipe": {"way": "sql", "name": "features.sql"}},
        ),
        "tune": (
            "best of 20 trials: loss 0.5131",
            {
                "trials": trials,
                "best": BEST,
                "importance": {
                    "learning_rate": 0.51,
                    "width": 0.24,
                    "dropout": 0.14,
                    "layers": 0.08,
                    "batch_size": 0.03,
                },
                "workload": "tabular",
            },
        ),
        "train": (
            "14 epochs on cpu, loss 0.5127",
            {
                "curve": [
                    {
                        "epoch": e,
                        "loss": 0.512 + 0.06 * math.exp(-e / 3) + 0.0002 * e,
                        "train_loss": 0.495 + 0.09 * math.exp(-e / 4),
                    }
                    for e in range(14)
                ],
                "device": "cpu",
                "rows": 303034,
                "features": 19,
                "parameters": BEST,
                "digest": DIGEST,
                "metrics": {"loss": 0.512 + 0.06 * math.exp(-4) + 0.0024},
            },
        ),
        "evaluate": (
            "24,312 rows scored by candidate and champion v3",
            {
                "rows": 24312,
                "candidate_digest": DIGEST,
                "champion_version": "3",
                "split_rule": card["split_rule"],
                "problem": "binary",
                "calibration": calibration(0.02),
                "champion_calibration": calibration(0.05),
                "explanation_metric": "roc_auc",
                "explanation": [
                    {
                        "feature": name,
                        "importance": 0.05 / (i + 1),
                        "low": 0.05 / (i + 1) - 0.002,
                        "high": 0.05 / (i + 1) + 0.002,
                    }
                    for i, name in enumerate(
                        (
                            "dep_hour",
                            "carrier",
                            "dest",
                            "wind_speed",
                            "visibility",
                            "precip",
                            "month_day",
                            "plane_age",
                            "distance",
                        )
                    )
                ],
            },
        ),
        "gate": (judged["reason"], {"decision": judged}),
        "register": (
            "version 4 registered",
            {
                "version": "4",
                "digest": DIGEST,
                "verdict": verdict,
                "reason": judged["reason"],
                "decision": judged,
                "card": card,
                "lineage": {
                    "commit": "3dbeaca4be0b1317b5b981b02167a1fe1b03190f and changes that were not committed",
                    "pipeline YAML": "sha256:" + "ab" * 32,
                    "hardware": "AMD EPYC, 2 cores, 25.3 GB",
                },
                **version,
            },
        ),
        "deploy": (
            "v4 live at http://127.0.0.1:5123 \N{MIDDLE DOT} 20 answers checked \N{MIDDLE DOT} entry 7",
            {
                "version": "4",
                "url": "http://127.0.0.1:5123",
                "entry": 7,
                "probe": {"rows": 20, "max_difference": 0.0},
                "seconds_to_ready": 12.9,
                "previous_version": "3",
            },
        ),
    }


def play(
    store: Path,
    run: str,
    verdict: str = "promote",
    *,
    only: set[str] | None = None,
    cached: dict[str, str] | None = None,
    stop: str = "",
    error: Exception | None = None,
    change: dict[str, dict[str, Any]] | None = None,
) -> None:
    """Leave the records of a run: all steps (or `only` these), none for `cached` ones (step -> run that made it), up to `stop`."""
    for step, (line, details) in findings(verdict).items():
        if step == "deploy" and verdict != "promote":
            continue
        if step not in (cached or {}) and (only is None or step in only):
            kept = (change or {}).get(step, details)
            leave(
                store,
                run,
                step,
                line,
                kept if step != stop or step in (change or {}) else {},
                made=cached or {},
                error=error if step == stop else None,
            )
        if step == stop:
            return


BLOCK = BlockedError(
    "column 'dep_delay': 4,310 of 336,776 rows (1.28 %) fail in_range(-60, 1500), e.g. -9999",
    "fix the source, or set checks.on_failure: quarantine and raise checks.max_quarantine_share",
)
"""How validate blocks."""


def blocked(store: Path, run: str) -> None:
    """A run that validation blocks."""
    details = {
        "tables": {"flights": {"rows": 336776, "accepted": 0, "quarantined": 0}},
        "failures": [
            {
                "table": "flights",
                "column": "dep_delay",
                "check": "in_range(-60, 1500)",
                "count": 4310,
                "share": 4310 / 336776,
                "examples": [{"flight_id": i, "carrier": "EV", "dep_delay": -9999, "origin": "LGA"} for i in range(5)],
            },
            {
                "table": "flights",
                "column": "carrier",
                "check": "isin(['UA', 'B6', 'EV'])",
                "count": 3,
                "share": 3 / 336776,
                "examples": [{"flight_id": 9, "carrier": "<script>alert(1)</script>"}],
            },
        ],
        "checks": [
            {
                "name": "freshness",
                "outcome": "fail",
                "reason": "The newest row is 52 days older than the window's end (at most 40).",
            }
        ],
    }
    play(store, run, stop="validate", error=BLOCK, change={"validate": details})


@pytest.fixture
def runs() -> SimpleNamespace:
    return SimpleNamespace(
        play=play,
        blocked=blocked,
        leave=leave,
        findings=findings,
        decision=decision,
        InputError=InputError,
        RatchetError=RatchetError,
    )
