import json

import pytest

from kfp_ratchet.components.gate.files import decide_from_files
from kfp_ratchet.components.shared.canonical import digest_file
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.journal import read_run
from kfp_ratchet.components.shared.store import Store

POLICY = '{"resamples": 200}'


def run(folder, tmp_path, policy=POLICY, name="decision.json"):
    verdict = decide_from_files(
        str(folder),
        "/root/run-1/evaluate/evidence",
        policy,
        str(tmp_path / "store"),
        str(tmp_path / name),
        "/root/run-1/gate/decision",
        str(tmp_path / "report.html"),
    )
    return verdict, Decision.read(tmp_path / name)


@pytest.fixture
def folder(pair, tmp_path):
    return pair.write(tmp_path / "evidence", pair.binary())


def test_the_same_evidence_gives_the_same_bytes(folder, tmp_path):
    run(folder, tmp_path, name="one.json")
    run(folder, tmp_path, name="two.json")
    content = (tmp_path / "one.json").read_bytes()
    assert content == (tmp_path / "two.json").read_bytes()
    assert content.endswith(b"}\n")


def test_the_order_of_rows_in_the_file_changes_only_the_digest_of_the_evidence(pair, tmp_path):
    evidence = pair.binary()
    _, one = run(pair.write(tmp_path / "one", evidence), tmp_path)
    _, other = run(pair.write(tmp_path / "other", pair.changed(evidence, evidence.rows.reverse())), tmp_path)
    assert one.model_dump(exclude={"evidence_digest"}) == other.model_dump(exclude={"evidence_digest"})


def test_the_journal_holds_the_decision_and_where_the_evidence_came_from(folder, tmp_path):
    verdict, decision = run(folder, tmp_path)
    record = read_run(Store(str(tmp_path / "store")), "run-1")["gate"]
    assert verdict == decision.verdict == "promote"
    assert record.details["decision"] == json.loads(decision.model_dump_json())
    assert (record.line, record.inputs["evidence"].step) == (decision.reason, "evaluate")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "evidence.json").unlink(), "cannot be read"),
        (lambda f: (f / "evidence.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "rows.parquet").unlink(), "cannot be read"),
        (lambda f: (f / "rows.parquet").write_bytes(b"PAR1"), "is not what evidence.json speaks of"),
    ],
)
def test_damaged_evidence_is_inconclusive_not_a_crash(folder, tmp_path, damage, says):
    damage(folder)
    verdict, decision = run(folder, tmp_path)
    assert verdict == "inconclusive"
    assert says in decision.reason
    assert decision.policy["resamples"] == 200


def test_rows_that_are_no_parquet_though_the_digest_fits_are_inconclusive(pair, folder, tmp_path):
    facts = pair.binary().facts
    (folder / "rows.parquet").write_bytes(b"not parquet")
    facts.model_copy(update={"rows_digest": digest_file(folder / "rows.parquet")}).write(folder)
    assert run(folder, tmp_path)[0] == "inconclusive"


def test_a_swapped_rows_file_is_refused(pair, folder, tmp_path):
    pair.binary(better=3.0).rows.write_parquet(folder / "rows.parquet")
    assert run(folder, tmp_path)[0] == "inconclusive"


def test_a_damaged_operations_file_matters_only_when_one_is_asked_for(folder, tmp_path):
    (folder / "operations.json").write_text("nonsense")
    assert run(folder, tmp_path)[0] == "promote"
    assert run(folder, tmp_path, '{"resamples": 200, "budget": {"latency_p95_ms": 5}}')[0] == "inconclusive"


def test_a_missing_operations_file_leaves_the_budget_open(folder, tmp_path):
    assert run(folder, tmp_path, '{"resamples": 200, "budget": {"latency_p95_ms": 5}}')[0] == "inconclusive"


def test_a_wrong_policy_fails_the_step_and_leaves_no_decision(folder, tmp_path):
    with pytest.raises(InputError, match="margn"):
        run(folder, tmp_path, '{"margn": 1}')
    assert not (tmp_path / "decision.json").exists()
    assert read_run(Store(str(tmp_path / "store")), "run-1")["gate"].error.kind == "input"


def test_the_page_shows_verdict_checks_and_interval_and_escapes_names(pair, tmp_path):
    evidence = pair.binary(champion_version="<script>3")
    run(pair.write(tmp_path / "evidence", evidence), tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert 'class="verdict promote"' in html
    assert html.count('<span class="chip pass">') == 7
    assert "<svg" in html
    assert "<script>" not in html
