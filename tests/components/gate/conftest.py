"""Evidence about two models whose difference is known."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from kfp_ratchet.components.shared.canonical import digest_file
from kfp_ratchet.components.shared.evidence import Evidence, Facts

SANE = {"finite": True, "not_constant": True}


class Pair:
    """Builds evidence of a candidate and a champion on the same rows."""

    def binary(self, n=400, better=1.5, worse=0.5, seed=0, first=False, **changes):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=n)
        label = (rng.random(n) < 1 / (1 + np.exp(-2 * x))).astype(float)
        rows = pl.DataFrame(
            {
                "id": [f"r{i:05d}" for i in range(n)],
                "label": label,
                "weight": np.ones(n),
                "candidate": 1 / (1 + np.exp(-better * (x + rng.normal(size=n) / (1 + better)))),
                "champion": 1 / (1 + np.exp(-worse * (x + rng.normal(size=n) / (0.2 + worse)))),
            }
        )
        return self._evidence(rows, "binary", ["no", "yes"], {"score": float(label.mean())}, first, changes)

    def regression(self, n=300, better=0.5, worse=1.0, seed=0, first=False, **changes):
        rng = np.random.default_rng(seed)
        label = rng.normal(size=n)
        rows = pl.DataFrame(
            {
                "id": np.arange(n),
                "label": label,
                "weight": np.ones(n),
                "candidate": label + better * rng.normal(size=n),
                "champion": label + worse * rng.normal(size=n),
            }
        )
        return self._evidence(rows, "regression", [], {"score": 0.0}, first, changes)

    def multiclass(self, n=400, better=2.0, worse=0.5, seed=0, first=False, **changes):
        rng = np.random.default_rng(seed)
        label = rng.integers(0, 3, n)
        truth = np.eye(3)[label]

        def scores(skill):
            odds = np.exp(skill * truth + rng.normal(size=(n, 3)))
            return odds / odds.sum(axis=1, keepdims=True)

        candidate, champion = scores(better), scores(worse)
        rows = pl.DataFrame(
            {"id": np.arange(n), "label": label.astype(float), "weight": np.ones(n)}
            | {f"candidate:{c}": candidate[:, i] for i, c in enumerate("abc")}
            | {f"champion:{c}": champion[:, i] for i, c in enumerate("abc")}
        )
        return self._evidence(rows, "multiclass", list("abc"), {"scores": [1 / 3] * 3}, first, changes)

    def swapped(self, evidence):
        """Candidate and champion the other way round."""
        turned = {"candidate": "champion", "champion": "candidate"}
        names = {
            name: re.sub("^(candidate|champion)", lambda found: turned[found[0]], name)
            for name in evidence.rows.columns
        }
        facts = {"candidate_digest": evidence.facts.champion_digest, "champion_digest": evidence.facts.candidate_digest}
        return self.changed(evidence, evidence.rows.rename(names), **facts)

    def changed(self, evidence, table=None, **facts):
        """The same evidence with another table of rows, or other facts."""
        told = evidence.facts.model_copy(update=facts)
        return replace(evidence, facts=told, rows=evidence.rows if table is None else table)

    def write(self, folder, evidence):
        folder.mkdir(exist_ok=True)
        evidence.rows.write_parquet(folder / "rows.parquet")
        facts = evidence.facts.model_copy(update={"rows_digest": digest_file(folder / "rows.parquet")})
        facts.write(folder)
        return folder

    def _evidence(self, rows, problem, classes, baseline, first, changes):
        if first:
            rows = rows.select([name for name in rows.columns if not name.startswith("champion")])
        said = {
            "problem": problem,
            "classes": classes,
            "rows": rows.height,
            "accepted_rows": 10 * rows.height,
            "revision": "sha256:data",
            "split_rule": "time",
            "candidate_digest": "sha256:new",
            "champion_version": "" if first else "3",
            "champion_digest": "" if first else "sha256:old",
            "baseline": baseline,
            "sanity": SANE,
        }
        return Evidence(Facts(**{**said, **changes}), rows)


@pytest.fixture(scope="session")
def pair():
    return Pair()
