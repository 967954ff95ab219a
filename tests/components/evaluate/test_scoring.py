import json
import math
import shutil
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from kfp_ratchet.components.gate import Policy, judge
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.evidence import Evidence, Facts, Operations, evidence_digest


def test_each_row_holds_its_own_label_weight_slice_and_scores(bench):
    rows = bench.rows()
    folder = bench.evaluate(
        bench.data(rows),
        bench.model(weights={"x": 1.0}),
        bench.model("champion", {"z": 2.0}),
        roles={"target": "late", "id": "key", "time": "at", "slices": ["port"], "weight": "worth"},
    )
    found, facts = Evidence.read(folder).rows, Facts.read(folder)
    expected = rows.filter(pl.col("at") > pl.col("at").max() - pl.duration(days=14)).sort("key")
    assert found["id"].to_list() == expected["key"].to_list()
    assert found["label"].to_list() == [float(late == "yes") for late in expected["late"]]
    assert found["weight"].to_list() == expected["worth"].to_list()
    assert found["slice:port"].to_list() == expected["port"].to_list()
    assert np.allclose(found["candidate"], 1 / (1 + np.exp(-expected["x"])))
    assert np.allclose(found["champion"], 1 / (1 + np.exp(-2 * expected["z"])))
    assert (facts.rows, facts.accepted_rows) == (len(expected), 400)
    trained = rows.filter(pl.col("at") <= pl.col("at").max() - pl.duration(days=14))
    share = trained.select((pl.col("late") == "yes").cast(float).dot("worth") / pl.col("worth").sum()).item()
    assert facts.baseline["score"] == pytest.approx(share)
    assert all(facts.sanity.values())


def test_the_gate_can_judge_what_evaluate_wrote(bench):
    data = bench.data(bench.rows(2000))
    champion = bench.model("champion", {"z": 1.0})
    folder = bench.evaluate(data, bench.model(), champion, window='{"evaluate": "90d"}')
    assert judge(folder, Policy(resamples=200)).verdict == "promote"
    first = bench.evaluate(data, bench.model("first"), out="first-evidence", window='{"evaluate": "90d"}')
    assert "first model" in judge(first, Policy(resamples=200)).reason


def test_evidence_is_the_same_bytes_again_and_for_rows_in_another_order(bench):
    rows, model = bench.rows(), bench.model()
    one = bench.evaluate(bench.data(rows), model, out="one")
    again = bench.evaluate(bench.data(rows), model, out="again")
    shuffled = bench.evaluate(bench.data(rows.sample(fraction=1, shuffle=True, seed=1), "shuffled"), model, out="other")
    assert (
        evidence_digest(one, operations=False)
        == evidence_digest(again, operations=False)
        == evidence_digest(shuffled, operations=False)
    )
    assert (one / "probe.json").read_bytes() == (again / "probe.json").read_bytes()


def test_a_champion_that_is_the_candidate_is_not_fetched(bench, monkeypatch):
    from kfp_ratchet.components.evaluate import scoring

    monkeypatch.setattr(scoring, "_fetch", None)
    model = bench.model()
    rows = Evidence.read(bench.evaluate(bench.data(bench.rows()), model, champion=model)).rows
    assert rows["candidate"].equals(rows["champion"].alias("candidate"))


def test_a_champion_whose_positive_class_is_the_other_one_is_turned_round(bench):
    folder = bench.evaluate(bench.data(bench.rows()), bench.model(), bench.model("champion", classes=("yes", "no")))
    rows = Evidence.read(folder).rows
    assert np.allclose(rows["candidate"], 1 - rows["champion"])


def test_a_champion_of_other_classes_is_an_error(bench):
    with pytest.raises(RatchetError, match="champion v3 tells on from off apart, but no from yes"):
        bench.evaluate(bench.data(bench.rows()), bench.model(), bench.model("champion", classes=("on", "off")))


def test_a_champion_of_another_target_is_an_error(bench):
    with pytest.raises(RatchetError, match="predicts 'minutes'"):
        bench.evaluate(
            bench.data(bench.rows()), bench.model(), bench.model("champion", problem="regression", target="minutes")
        )


def test_classes_are_matched_by_name_and_unknown_ones_get_nothing(bench):
    roles = {"target": "kind", "problem": "multiclass", "id": "key", "time": "at"}
    kind = {"problem": "multiclass", "target": "kind"}
    candidate = bench.model(weights={"x": [1.0, 0.0]}, classes=("a", "b"), **kind)
    champion = bench.model("champion", {"x": [0.0, 1.0, 2.0]}, classes=("b", "d", "a"), **kind)
    folder = bench.evaluate(bench.data(bench.rows()), candidate, champion, roles=roles)
    facts, rows = Facts.read(folder), Evidence.read(folder).rows
    assert facts.classes == ["a", "b", "d", "c"]
    assert (rows["candidate:c"] == 0).all()
    assert (rows["candidate:d"] == 0).all()
    x = rows.join(bench.rows(), left_on="id", right_on="key", maintain_order="left")["x"]
    total = 1 + x.exp() + (2 * x).exp()
    assert np.allclose(rows["champion:b"], 1 / total)
    assert np.allclose(rows["champion:a"], (2 * x).exp() / total)
    assert set(rows["label"].unique()) == {0.0, 1.0, 3.0}
    assert sum(facts.baseline["scores"]) == pytest.approx(1)
    assert facts.baseline["scores"][2] == 0


def test_regression_keeps_values_and_units(bench):
    roles = {"target": "minutes", "problem": "regression", "id": "key", "time": "at"}
    model = bench.model(weights={"x": 10.0}, problem="regression", target="minutes")
    folder = bench.evaluate(bench.data(bench.rows()), model, roles=roles)
    rows = Evidence.read(folder).rows
    assert 0.5 < (rows["candidate"] - rows["label"]).std() < 2
    assert "probabilities" not in Facts.read(folder).sanity


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ("PeeksAtTheBatch", "order_stable"),
        ("GoesByPosition", "order_stable"),
        ("ThrowsDice", "repeatable"),
        ("SaysNaN", "finite"),
        ("SaysTheSame", "not_constant"),
        ("SaysLogits", "probabilities"),
    ],
)
def test_insane_scores_are_found_and_never_promoted(bench, kind, broken):
    folder = bench.evaluate(bench.data(bench.rows(2000)), bench.model(kind=kind), window='{"evaluate": "90d"}')
    assert Facts.read(folder).sanity[broken] is False
    assert judge(folder, Policy(resamples=200)).verdict == "inconclusive"
    assert broken in bench.record().line


@pytest.mark.parametrize(
    ("kind", "says"),
    [("TwoColumns", "shape .*2\\) instead of"), ("Crashes", "cannot score the evaluation rows: KeyError")],
)
def test_a_model_that_cannot_answer_is_named(bench, kind, says):
    with pytest.raises(RatchetError, match=f"the candidate .*{says}"):
        bench.evaluate(bench.data(bench.rows()), bench.model(kind=kind))


def test_a_feature_that_only_the_champion_needs_is_named_with_a_remedy(bench):
    champion = bench.model("champion", {"wind": 1.0})
    with pytest.raises(RatchetError, match="'wind' that the champion v3 takes is missing") as caught:
        bench.evaluate(bench.data(bench.rows()), bench.model(), champion)
    assert "prepare" in caught.value.remedy


def test_the_target_is_not_shown_to_the_model(bench):
    from kfp_ratchet.components.evaluate.contender import Contender
    from kfp_ratchet.components.shared.columns import Columns

    contender = Contender.load("candidate", bench.model(), Columns(target="late"))
    assert contender.raw(bench.rows()).columns == ["x"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda r: r.with_columns(late=pl.when(pl.col("key") < "k0100").then(None).otherwise("late")),
            "'late' is empty",
        ),
        (lambda r: r.with_columns(key=pl.lit("same")), "'key' repeats in"),
        (lambda r: r.with_columns(key=pl.lit(None, pl.String)), "'key' is empty"),
        (lambda r: r.with_columns(late=pl.lit("maybe")), "holds 'maybe'"),
        (lambda r: r.drop("port"), r"columns\.slices 'port' is missing"),
    ],
)
def test_rows_that_cannot_be_judged_name_column_and_count(bench, spoil, says):
    with pytest.raises(RatchetError, match=says):
        bench.evaluate(bench.data(spoil(bench.rows())), bench.model())
    assert bench.record().state == "failed"


def test_nan_labels_of_a_regression_are_counted(bench):
    rows = bench.rows().with_columns(minutes=pl.when(pl.col("port") == "A").then(float("nan")).otherwise("minutes"))
    model = bench.model(problem="regression", target="minutes")
    with pytest.raises(
        RatchetError, match=r"'minutes' is empty \(null, NaN or infinite\) in \d+ of \d+ evaluation rows"
    ):
        bench.evaluate(bench.data(rows), model, roles={"target": "minutes", "problem": "regression", "time": "at"})


def test_rows_without_an_id_column_are_numbered(bench):
    folder = bench.evaluate(bench.data(bench.rows()), bench.model(), roles={"target": "late", "time": "at"})
    assert Evidence.read(folder).rows["id"].to_list() == list(range(Facts.read(folder).rows))


def test_a_champion_named_by_half_is_an_input_error(bench):
    from kfp_ratchet.components.evaluate.scoring import evaluate_models

    with pytest.raises(InputError, match="champion_version is '3'"):
        evaluate_models("", "", "", "", '{"target": "late"}', "{}", "m", "3", "", "", "", "", "", "", "/r/s/e")


def test_operations_are_measured_of_both_models_and_stay_out_of_the_digest_unless_asked_for(bench):
    folder = bench.evaluate(bench.data(bench.rows()), bench.model(), bench.model("champion", {"z": 1.0}))
    before, whole, measured = evidence_digest(folder, False), evidence_digest(folder, True), Operations.read(folder)
    assert {name: len(samples) >= 100 for name, samples in measured.latency_ms.items()} == {
        "candidate": True,
        "champion": True,
    }
    assert {name: len(samples) for name, samples in measured.memory_mb.items()} == {"candidate": 3, "champion": 3}
    assert Facts.read(folder).size_mb.keys() == {"candidate", "champion"}
    (folder / "operations.json").write_text("{}")
    assert evidence_digest(folder, False) == before
    assert evidence_digest(folder, True) != whole


def test_the_probe_is_json_that_gives_the_same_scores(bench):
    model = bench.model(weights={"x": 1.0, "z": 0.5}, features={"x": "Float64", "z": "Float64", "seen": "Datetime"})
    rows = bench.rows().with_columns(z=pl.when(pl.col("port") == "A").then(float("nan")).otherwise("z"))
    rows = rows.with_columns(pl.col("z").fill_nan(None))
    probe = json.loads((bench.evaluate(bench.data(rows), model) / "probe.json").read_text())
    frame = probe["rows"]
    assert (frame["columns"], len(frame["data"]), len(probe["scores"])) == (["x", "z", "seen"], 20, 20)
    for (x, z, seen), score in zip(frame["data"], probe["scores"], strict=True):
        assert score == pytest.approx(1 / (1 + math.exp(-x - 0.5 * (z or 0))))
        assert seen is None or seen.startswith("20")
    assert None in [row[1] for row in frame["data"]]


def test_deploy_reads_the_probe_that_evaluate_writes(bench):
    from kfp_ratchet.components.deploy.probe import Probe

    probe = Probe.read(bench.evaluate(bench.data(bench.rows()), bench.model()) / "probe.json")
    assert len(probe.rows["data"]) == len(probe.scores) == 20


def test_the_journal_says_what_the_report_draws(bench):
    bench.evaluate(
        bench.data(bench.rows(2000)), bench.model(weights={"x": 2.0, "z": 0.01}), window='{"evaluate": "200d"}'
    )
    details = bench.record().details
    assert set(details) == {
        "rows",
        "candidate_digest",
        "champion_version",
        "split_rule",
        "problem",
        "calibration",
        "champion_calibration",
        "explanation_metric",
        "explanation",
    }
    top, other = details["explanation"]
    assert (top["feature"], other["feature"]) == ("x", "z")
    assert top["low"] < top["importance"] < top["high"]
    assert (details["problem"], details["explanation_metric"]) == ("binary", "roc_auc")
    assert details["champion_calibration"] == []
    assert top["importance"] > 0.1 > abs(other["importance"])
    assert sum(one["count"] for one in details["calibration"]) == details["rows"]


def test_a_first_model_waits_for_no_mlflow(bench):
    data, model = bench.data(bench.rows()), bench.model()
    code = (
        "import sys; sys.path.insert(0, sys.argv[3]); from kfp_ratchet.components.evaluate.scoring import evaluate_models as e;"
        'roles = \'{"target": "late", "time": "at"}\';'
        "e(sys.argv[1], '', sys.argv[2], '', roles, '{}', *7 * [''], sys.argv[4], '/r/s/e');"
        "print({'mlflow', 'torch', 'sklearn', 'scipy', 'pandas'} & set(sys.modules))"
    )
    from pathlib import Path

    workloads = str(Path(__file__).parent / "workloads")
    run = subprocess.run(
        [sys.executable, "-c", code, str(data), str(model), workloads, str(bench.folder / "e")],
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "set()", run.stderr


@pytest.mark.slow
def test_the_pinned_version_is_fetched_from_the_registry_and_another_digest_refused(bench, monkeypatch):
    from kfp_ratchet.components.evaluate import scoring
    from kfp_ratchet.components.shared.model import model_digest
    from kfp_ratchet.components.shared.registry import RUN_TAG, register

    monkeypatch.setattr(scoring, "_fetch", bench.fetch)
    data, model, champion = bench.data(bench.rows()), bench.model(), bench.model("champion", {"z": 2.0})
    uri = f"sqlite:///{bench.folder}/mlflow.db"
    monkeypatch.chdir(bench.folder)
    version = register(uri, "flights", champion, model_digest(champion), {RUN_TAG: "run-0"}, {}, {}, "run-0")
    roles, out = json.dumps({"target": "late", "id": "key", "time": "at"}), str(bench.folder / "evidence")

    def evaluate(digest):
        inputs = (str(data), "", str(model), "", roles, "{}", "flights", version, digest, "", "", uri)
        scoring.evaluate_models(*inputs, "", out, "/root/run-1/evaluate/evidence")

    evaluate(model_digest(champion))
    rows = Evidence.read(out).rows
    z = rows.join(bench.rows(), left_on="id", right_on="key", maintain_order="left")["z"]
    assert np.allclose(rows["champion"], 1 / (1 + np.exp(-2 * z)))
    with pytest.raises(RatchetError, match="as the ledger says"):
        evaluate("sha256:other")


def test_the_anchor_is_scored_on_the_same_rows_unless_it_is_the_champion(bench):
    data, champion = bench.data(bench.rows()), bench.model("champion", {"z": 1.0})
    anchor = bench.model("anchor", {"x": 0.5})
    folder = bench.evaluate(data, bench.model(), champion, anchor)
    rows, facts = Evidence.read(folder).rows, Facts.read(folder)
    x = rows.join(bench.rows(), left_on="id", right_on="key", maintain_order="left")["x"]
    assert np.allclose(rows["anchor"], 1 / (1 + np.exp(-0.5 * x)))
    assert (facts.anchor_version, facts.has_anchor) == ("2", True)
    assert "champion v3, and anchor v2" in bench.record().line
    for same in (champion, bench.folder / "candidate"):
        folder = bench.evaluate(data, bench.folder / "candidate", champion, same, out=f"with-{same.name}")
        assert "anchor" not in Evidence.read(folder).rows.columns
        assert judge(folder, Policy(preset="fresh", min_rows=20, min_class_rows=1)).verdict != "inconclusive"


def test_an_old_anchor_that_cannot_read_todays_rows_stops_no_run(bench):
    champion, anchor = bench.model("champion", {"z": 1.0}), bench.model("anchor", {"wind": 1.0})
    folder = bench.evaluate(bench.data(bench.rows(2000)), bench.model(), champion, anchor, window='{"evaluate": "90d"}')
    assert "'wind' that the anchor v2 takes is missing" in Facts.read(folder).anchor_problem
    assert "anchor v2 cannot score them" in bench.record().line
    for preset in ("strict", "fresh"):  # the candidate is better than the champion: nothing else is left to ask
        decision = judge(folder, Policy(preset=preset))
        assert (decision.verdict, decision.sets_anchor) == ("promote", True)


def test_an_anchor_that_was_deleted_from_the_registry_stopped_the_run(bench):
    champion, anchor = bench.model("champion", {"z": 1.0}), bench.model("anchor", {"x": 1.0})
    shutil.rmtree(anchor / "artifacts")
    folder = bench.evaluate(bench.data(bench.rows()), bench.model(), champion, anchor)
    assert Facts.read(folder).anchor_problem == "the anchor v2 cannot be loaded: FileNotFoundError"
    assert "anchor v2 cannot score them" in bench.record().line
    shutil.rmtree(champion / "artifacts")
    with pytest.raises(FileNotFoundError):
        bench.evaluate(bench.data(bench.rows()), bench.folder / "candidate", champion, out="without")


def test_an_anchor_of_several_classes_has_a_column_each(bench):
    roles = {"target": "kind", "problem": "multiclass", "id": "key", "time": "at"}
    made = [
        bench.model(name, {"x": [1.0, 0.0, weight]}, classes=("a", "b", "c"), problem="multiclass", target="kind")
        for name, weight in (("candidate", 0.1), ("champion", 0.2), ("anchor", 0.3))
    ]
    rows = Evidence.read(bench.evaluate(bench.data(bench.rows()), *made, roles=roles)).rows
    assert {"anchor:a", "anchor:b", "anchor:c"} <= set(rows.columns)


def test_an_anchor_named_by_half_is_an_input_error():
    from kfp_ratchet.components.evaluate.scoring import evaluate_models

    with pytest.raises(InputError, match="anchor_version is '2'"):
        evaluate_models("", "", "", "", '{"target": "late"}', "{}", "m", "", "", "2", "", "", "", "", "/r/s/e")


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ("port", lambda rows: rows["port"].to_list()),
        ("at", lambda rows: [str(moment.date()) for moment in rows["at"]]),
        ("seen", lambda rows: [moment and str(moment.date()) for moment in rows["seen"]]),
        ("worth", lambda rows: [str(int(worth)) for worth in rows["worth"]]),
    ],
)
def test_rows_of_one_value_or_one_day_are_a_cluster_and_the_column_keeps_its_role(bench, cluster, expected):
    roles = {"target": "late", "id": "key", "time": "at", "cluster": cluster}
    folder = bench.evaluate(bench.data(bench.rows()), bench.model(), roles=roles)
    rows, facts = Evidence.read(folder).rows, Facts.read(folder)
    source = rows.join(bench.rows(), left_on="id", right_on="key", maintain_order="left")
    assert rows["cluster"].to_list() == expected(source)
    assert facts.clustered_by == cluster


def test_a_cluster_column_that_is_not_there_is_named(bench):
    roles = {"target": "late", "id": "key", "time": "at", "cluster": "prot"}
    with pytest.raises(
        InputError, match=r"columns\.cluster 'prot' is missing from the model rows .*did you mean 'port'"
    ):
        bench.evaluate(bench.data(bench.rows()), bench.model(), roles=roles)


def test_days_are_told_from_a_time_column_that_is_text(bench):
    rows = bench.rows().with_columns(at=pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    roles = {"target": "late", "id": "key", "time": "at", "cluster": "at"}
    found = Evidence.read(bench.evaluate(bench.data(rows), bench.model(), roles=roles)).rows
    assert found["cluster"].n_unique() == 14
    assert found["cluster"].str.len_chars().unique().to_list() == [10]


def test_the_first_and_the_last_moment_that_is_judged_are_told(bench):
    facts = Facts.read(bench.evaluate(bench.data(bench.rows()), bench.model()))
    assert (facts.start, facts.end) == ("2020-03-27T00:00:00Z", "2020-04-09T18:00:00Z")
    roles = {"target": "late", "id": "key"}
    timeless = Facts.read(bench.evaluate(bench.data(bench.rows()), bench.model("other"), out="timeless", roles=roles))
    assert (timeless.start, timeless.end) == ("", "")


def test_a_model_whose_memory_cannot_be_measured_leaves_only_that_open(bench):
    """Where the fresh process finds no such module, or the model crashes in it, everything else is measured as ever."""
    folder = bench.evaluate(
        bench.data(bench.rows(2000)), bench.model(kind="NeedsThisProcess"), window='{"evaluate": "90d"}'
    )
    measured = Operations.read(folder)
    assert (measured.memory_mb, len(measured.latency_ms["candidate"]) >= 100) == ({}, True)
    decision = judge(folder, Policy.parse('{"budget": {"memory_mb": 100}}'))
    assert decision.verdict == "inconclusive"
    assert "memory of the candidate is not known" in decision.reason


def test_memory_grows_by_what_a_model_holds(bench):
    light, heavy = (bench.model(kind, kind=kind) for kind in ("Weighing", "HoldsFortyMegabytes"))
    measured = Operations.read(bench.evaluate(bench.data(bench.rows()), light, heavy)).memory_mb
    assert 39 < min(measured["champion"]) - max(measured["candidate"]) < 60


def test_a_model_that_answers_slowly_has_fewer_samples_and_no_endless_step(bench, monkeypatch):
    from kfp_ratchet.components.evaluate import latency

    monkeypatch.setattr(latency, "_CAP_SECONDS", 0.2)
    folder = bench.evaluate(bench.data(bench.rows()), bench.model(kind="TakesItsTime"))
    assert len(Operations.read(folder).latency_ms["candidate"]) == 20
