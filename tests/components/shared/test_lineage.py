"""What made a version: walked back through the run journal, kept once."""

import pytest

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.journal import Origin, journal
from kfp_ratchet.components.shared.lineage import Lineage, Provenance, chain, collect, said_commit, versions
from kfp_ratchet.components.shared.model import Card
from kfp_ratchet.components.shared.store import Store

CARD = Card(
    workload="tabular",
    parameters={},
    columns=Columns(target="y"),
    features={},
    revision="sha256:" + "a" * 64,
    window={"train": "all"},
    split_rule="time",
    rows=9,
    seed=7,
    device="cpu",
    code={"kfp-ratchet": "0.0.9", "workload": "sha256:w"},
)
DECIDED = Decision(verdict="reject", reason="not better", policy_digest="sha256:p", evidence_digest="sha256:e")


class Runs:
    """Writes the journal records that runs leave."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.store = Store(str(folder))

    def step(self, run, name, inputs=None, details=None, **parameters) -> None:
        made = {key: f"/root/{origin.run}/{origin.step}/out" for key, origin in (inputs or {}).items()}
        with journal(str(self.folder), f"/root/{run}/{name}/out", made, parameters) as step:
            step.found(f"{name} is done", **(details or {}))

    def fitted(self, run) -> None:
        """Everything up to train."""
        self.step(run, "ingest", source="data", revision=CARD.revision)
        self.step(run, "validate", {"dataset": Origin(run=run, step="ingest")}, schema="{}")
        self.step(run, "tune", {"dataset": Origin(run=run, step="validate")}, {"best": {"width": 8}}, trials=3)
        self.step(run, "train", {"dataset": Origin(run=run, step="validate")}, parameters='{"width":8}', seed=7)

    def judged(self, run, fitted_in) -> dict[str, Origin]:
        """The rest, on the model of a run; the inputs of register."""
        dataset, model = Origin(run=fitted_in, step="validate"), Origin(run=fitted_in, step="train")
        self.step(run, "evaluate", {"dataset": dataset, "model": model}, champion_version="3")
        self.step(run, "gate", {"evidence": Origin(run=run, step="evaluate")}, policy="{}")
        return {
            "model": model,
            "evidence": Origin(run=run, step="evaluate"),
            "decision": Origin(run=run, step="gate"),
        }


@pytest.fixture
def runs(tmp_path) -> Runs:
    return Runs(tmp_path)


def collected(runs, inputs, run="r2"):
    return collect(runs.store, "m", "sha256:m", run, inputs, CARD, DECIDED, "sha256:d", Provenance())


def test_a_chain_that_ends_where_the_cache_begins(runs):
    runs.fitted("r1")
    found = collected(runs, runs.judged("r2", "r1"))
    assert [(made.step, made.run) for made in found.steps] == [
        ("ingest", "r1"),
        ("validate", "r1"),
        ("tune", "r1"),
        ("train", "r1"),
        ("evaluate", "r2"),
        ("gate", "r2"),
    ]
    assert (found.source, found.revision, found.seed) == ("data", CARD.revision, 7)
    assert found.step("train").parameters == {"parameters": '{"width":8}', "seed": 7}
    assert found.step("train").inputs == {"dataset": Origin(run="r1", step="validate")}
    assert found.hardware and found.package and found.code.startswith("sha256:") and found.schema_digest
    assert found.manifest == f"manifests/{'a' * 64}.parquet"


def test_a_tuning_of_another_run_that_found_other_parameters(runs):
    runs.fitted("r1")
    runs.step("r2", "tune", {"dataset": Origin(run="r1", step="validate")}, {"best": {"width": 16}}, trials=3)
    runs.step("r2", "train", {"dataset": Origin(run="r1", step="validate")}, parameters='{"width":8}')
    tuned = [made for made in collected(runs, runs.judged("r2", "r2")).steps if made.step == "tune"]
    assert [made.run for made in tuned] == ["r1"]


def test_a_step_that_left_no_record_is_told_and_loses_nothing_else(runs):
    runs.fitted("r1")
    inputs = runs.judged("r2", "r1")
    runs.store.delete("runs/r1/steps/train.json")
    found = collected(runs, inputs)
    assert "no record" in found.step("train").problem
    assert found.step("ingest").run == "r1", "evaluate leads there too"
    assert (found.package, found.hardware, found.seed) == ("0.0.9", "", 7), "the card still tells"
    assert {made.step for made in found.steps} == {"ingest", "validate", "train", "evaluate", "gate"}


def test_a_damaged_record_that_stopped_a_registration(runs):
    runs.fitted("r1")
    inputs = runs.judged("r2", "r1")
    runs.store.put("runs/r1/steps/validate.json", b"{")
    found = collected(runs, inputs)
    assert "is damaged" in found.step("validate").problem and found.step("ingest") is None


def test_records_that_lead_in_circles(runs):
    runs.step("r1", "train", {"dataset": Origin(run="r1", step="prepare")})
    runs.step("r1", "prepare", {"dataset": Origin(run="r1", step="train")})
    assert len(chain(runs.store, [Origin(run="r1", step="train")])) == 2


def test_the_first_run_that_made_a_version_says_how(runs):
    runs.fitted("r1")
    inputs = runs.judged("r2", "r1")
    first = collected(runs, inputs).model_copy(update={"version": "1"})
    assert first.keep(runs.store)
    assert not collected(runs, inputs, run="r3").model_copy(update={"version": "1"}).keep(runs.store)
    assert Lineage.load(runs.store, "m", "1") == first
    assert versions(runs.store, "m") == ["1"] and Lineage.load(runs.store, "m", "2") is None


@pytest.mark.parametrize("content", [b"{", b'{"model": "m", "version": "2", "digest": ""}', b"[]"])
def test_a_lineage_that_was_changed(runs, content):
    runs.store.put("lineage/m/1.json", content)
    with pytest.raises(RatchetError, match=r"lineage/m/1\.json in the store .* is damaged"):
        Lineage.load(runs.store, "m", "1")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, ""),
        ({"commit": "abc", "dirty": False}, "abc"),
        ({"commit": "abc", "dirty": True}, "abc and changes that were not committed"),
        ({"commit": "abc"}, "abc, changed or not"),
    ],
)
def test_a_commit_that_is_said_to_be_clean_though_nobody_looked(told, said):
    assert said_commit(Provenance(**told)) == said


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://ann:hunter2@git.example/a/b.git?token=x", "https://git.example/a/b.git"),
        ("https://ghp_123@github.com/a/b", "https://github.com/a/b"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("/srv/git/b.git", "/srv/git/b.git"),
    ],
)
def test_a_token_in_the_address_of_a_repository(given, kept):
    assert Provenance(repository=given).repository == kept
