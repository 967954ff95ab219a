"""A ledger with a past: models of known skill, judged and archived as the pipeline does it."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kfp_ratchet.components.gate import Policy, judge
from kfp_ratchet.components.shared.archive import keep_decision, keep_evidence
from kfp_ratchet.components.shared.canonical import digest, digest_file
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.entry import Draft, Entry
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store

QUICK = {"resamples": 200}


@dataclass
class Past:
    """Writes evidence of binary models and what became of them; a model's score is the truth and noise of its own."""

    folder: Path
    model: str = "mine"
    rows: int = 600
    window: int | None = None
    """Which rows judge; fresh ones each time when None."""
    noise: dict[str, float] = field(default_factory=dict)
    """By version; less is better."""
    decisions: dict[str, Decision] = field(default_factory=dict)
    """By version."""

    @property
    def store(self) -> Store:
        return Store(str(self.folder / ".ratchet" / "store"))

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.store, self.model)

    def evidence(self, version: str, noise: float, champion: str = "", window: int = 0) -> Path:
        """Evidence about a candidate and a champion on the rows of a window."""
        self.noise[version] = noise
        rng = np.random.default_rng([window, 1])
        truth = rng.normal(size=self.rows)
        label = (rng.random(self.rows) < 1 / (1 + np.exp(-2 * truth))).astype(float)
        anchor = self.ledger.anchor()
        names = (
            {"candidate": version}
            | ({"champion": champion} if champion else {})
            | ({"anchor": anchor.version} if anchor else {})
        )
        rows = {"id": np.arange(self.rows), "label": label, "weight": np.ones(self.rows)} | {
            name: self._scores(one, truth, window) for name, one in names.items()
        }
        folder = self.folder / "evidence" / f"{version}-{champion}-{window}"
        folder.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows).write_parquet(folder / "rows.parquet")
        said = {
            "problem": "binary",
            "classes": ["no", "yes"],
            "rows": self.rows,
            "accepted_rows": 10 * self.rows,
            "revision": digest(f"revision {window}"),
            "split_rule": "the last month judges",
            "candidate_digest": digest(f"model {version}"),
            "champion_version": champion,
            "champion_digest": digest(f"model {champion}") if champion else "",
            "anchor_version": anchor.version if anchor else "",
            "anchor_digest": anchor.digest if anchor else "",
            "baseline": {"score": float(label.mean())},
            "sanity": {"finite": True, "not_constant": True},
            "rows_digest": digest_file(folder / "rows.parquet"),
        }
        (folder / "evidence.json").write_text(json.dumps(said))
        return folder

    def judged(self, version: str, noise: float, *, policy: Policy | None = None, keep: bool = True) -> Entry:
        """Judge a version against the champion on fresh rows, archive that, and do what the verdict says."""
        draft = self.draft(version, noise, policy=policy, keep=keep)
        return self.promoted(draft) if draft.kind == "promote" else self.ledger.append(draft)

    def waiting(self, version: str, noise: float) -> Entry:
        """Judge a version that is promoted only when a person approves it."""
        return self.ledger.append(self.draft(version, noise).model_copy(update={"kind": "pending"}))

    def draft(self, version: str, noise: float, *, policy: Policy | None = None, keep: bool = True) -> Draft:
        """Judge a version against the champion on fresh rows and archive that: the entry that the verdict makes."""
        champion = self.ledger.champion()
        window = len(self.ledger.entries()) if self.window is None else self.window
        evidence = self.evidence(version, noise, champion.version if champion else "", window)
        decision = judge(evidence, policy or Policy.parse(json.dumps(QUICK)))
        path = evidence.with_suffix(".json")
        decision.write(path)
        decided = digest_file(path)
        if keep:
            keep_evidence(self.store, evidence, decision.evidence_digest)
            keep_decision(self.store, path, decided)
        self.decisions[version] = decision
        epoch = champion.epoch if champion else 0
        return Draft.of(decision, decided, decision.verdict, version, epoch, f"run-{version}")

    def promoted(self, draft: Draft) -> Entry:
        """Put live what a draft makes champion."""
        intent = self.ledger.append(draft.model_copy(update={"kind": "deploy-started"}))
        return self.ledger.append(draft.model_copy(update={"intent": intent.number}))

    def rolled_back(self, version: str, by: str = "ann") -> Entry:
        """A person goes back to a former champion."""
        former = [entry for entry in self.ledger.entries() if entry.version == version and entry.kind == "promote"][-1]
        draft = Draft(
            kind="rollback",
            version=version,
            digest=former.digest,
            epoch=self.ledger.champion().epoch,
            run=f"rollback by {by}",
            by=by,
            reason="complaints",
            sets_anchor=former.sets_anchor,
            decision_digest=former.decision_digest,
        )
        return self.promoted(draft)

    def _scores(self, version: str, truth: np.ndarray, window: int) -> np.ndarray:
        noise = np.random.default_rng([window, 2, int(version)]).normal(size=len(truth))
        return 1 / (1 + np.exp(-(truth + self.noise[version] * noise)))


@pytest.fixture
def blank(tmp_path: Path) -> Past:
    """Nothing was judged yet."""
    return Past(tmp_path)


@pytest.fixture
def past(blank: Past) -> Past:
    """The same; test modules put a story of their own into it."""
    return blank
