import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.journal import Origin, read_record
from kfp_ratchet.components.shared.lease import lease
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.train.checkpoints import PreemptedError
from kfp_ratchet.components.tune.outcome import Outcome
from kfp_ratchet.components.tune.study import TrialContext, open_study

TOYS = Path(__file__).parents[2] / "testing"


def drawn(study):
    return [trial["parameters"] for trial in study["trials"] if "killed" not in trial["error"]]


def test_the_defaults_are_tried_first_and_the_best_wins(tune):
    best, study = tune(trials=6)
    assert study["trials"][0]["parameters"] == {"shrink": 1.0}
    complete = [trial for trial in study["trials"] if trial["state"] == "complete"]
    assert best == min(complete, key=lambda trial: trial["value"])["parameters"]
    assert len({trial["parameters"]["shrink"] for trial in study["trials"]}) == 6


def test_the_journal_and_the_report_say_what_was_found(tune):
    _, study = tune(trials=6)
    record = read_record(Store(str(tune.folder / "store")), Origin(run="run", step="tune"))
    assert record.line == Outcome.model_validate(study).line and record.details == study
    assert study["importance"] == {"shrink": 1.0} or study["importance"] == {}
    html = (tune.folder / "run" / "tune" / "report").read_text()
    assert "<svg" in html and "shrink" in html


def test_without_trials_the_fixed_hyperparameters_are_the_answer(tune):
    best, study = tune(trials=0, parameters='{"shrink":2.0}')
    assert best == {"shrink": 2.0} and study["trials"] == []
    record = read_record(Store(str(tune.folder / "store")), Origin(run="run", step="tune"))
    assert record.line.startswith("not tuned (0 trials): shrink=2.0")


def test_fixed_hyperparameters_are_not_searched(tune):
    space = '{"shrink":{"type":"float","low":1,"high":2},"epochs":{"type":"int","low":1,"high":3}}'
    best, study = tune(parameters='{"epochs":2}', space=space)
    assert best["epochs"] == 2 and all(set(trial["parameters"]) == {"shrink"} for trial in study["trials"])
    with pytest.raises(InputError, match="nothing to tune"):
        tune(parameters='{"shrink":2.0}')


def test_a_longer_study_goes_on_and_repeats_nothing(tune):
    _, short = tune(trials=3)
    _, longer = tune(trials=6, name="again")
    assert longer["trials"][:3] == short["trials"] and len(longer["trials"]) == 6
    _, same = tune(trials=6, name="third")
    assert same["trials"] == longer["trials"]


def test_what_a_shorter_study_finds_does_not_depend_on_a_longer_one_before_it(tune):
    alone = tune(trials=3, store="alone")
    tune(trials=8)
    best, study = tune(trials=3, name="again")
    assert (best, drawn(study), len(study["trials"])) == (alone[0], drawn(alone[1]), 3)


def test_a_study_cut_in_two_draws_what_an_uninterrupted_one_does(tune):
    _, whole = tune(trials=7, store="whole")
    tune(trials=2)
    _, halves = tune(trials=7, name="again")
    assert drawn(halves) == drawn(whole)


def test_a_trial_told_to_end_goes_on_where_it_stood(tune, monkeypatch):
    settings = {"workload": "tabular", "trials": 2, "parameters": '{"epochs":4,"patience":4}'}
    best, whole = tune(**settings, store="whole")
    report, seen = TrialContext.report, []

    def told_to_end(self, epoch, *rest):
        report(self, epoch, *rest)
        seen.append(epoch)
        if len(seen) == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TrialContext, "report", told_to_end)
    with pytest.raises(PreemptedError):
        tune(**settings)
    loaded = TrialContext.load_checkpoint
    found = []
    monkeypatch.setattr(TrialContext, "load_checkpoint", lambda self: found.append(loaded(self)) or found[-1])
    again, halves = tune(**settings)
    assert again == best and drawn(halves) == drawn(whole)
    assert len(found) == 1 and found[0] is not None, "the second trial started afresh, or the first was made again"
    values = [[trial["value"] for trial in study["trials"] if trial["value"]] for study in (whole, halves)]
    assert values[0] == values[1]
    assert not list(Store(str(tune.folder / "store")).keys("checkpoints"))


def test_evaluation_rows_change_nothing(tune, rows, write_dataset):
    lies = rows.with_columns(late=pl.when(pl.col("row") < 340).then("late").otherwise(~pl.col("late")))
    write_dataset(lies, tune.folder / "lies")
    best, study = tune()
    other, same = tune(dataset="lies", name="again", store="elsewhere")
    assert best == other and [t["value"] for t in study["trials"]] == [t["value"] for t in same["trials"]]


def test_other_rows_are_another_study(tune, rows, write_dataset):
    write_dataset(rows.with_columns(late=~pl.col("late")), tune.folder / "other")
    tune(trials=2)
    tune(trials=2, dataset="other", name="again")
    keys = Store(str(tune.folder / "store")).keys("studies")
    assert len({key.split("/")[1] for key in keys}) == 2


def test_a_diverged_trial_is_a_failed_trial_and_not_a_failed_step(tune):
    best, study = tune("toy:SometimesDiverges", trials=6)
    states = [trial["state"] for trial in study["trials"]]
    assert "fail" in states and "complete" in states and len(states) == 6
    assert best["shrink"] <= 1.0
    failed = next(trial for trial in study["trials"] if trial["state"] == "fail")
    assert failed["error"] == "the fit diverged; lower shrink"


@pytest.mark.parametrize("workload", ["toy:Diverges", "toy:Raises"])
def test_a_study_without_one_good_trial_fails_with_the_reason(tune, workload):
    with pytest.raises(RatchetError, match=r"all 3 trials failed; the last one: .*(loss is nan|KeyError: 'wheels')"):
        tune(workload, trials=3)


def test_an_unknown_hyperparameter_fails_at_once(tune):
    space = '{"shrnk":{"type":"float","low":1,"high":2}}'
    with pytest.raises(InputError, match="did you mean 'shrink'"):
        tune(space=space)
    with pytest.raises(InputError, match="trials is -1"):
        tune(trials=-1)


def test_bad_trials_are_pruned(tune):
    space = '{"shrink":{"type":"float","low":0.001,"high":10000,"log":true}}'
    _, study = tune(trials=14, space=space, parameters='{"epochs":12}')
    pruned = [trial for trial in study["trials"] if trial["state"] == "pruned"]
    assert pruned and all(trial["value"] is None and trial["epochs"] == 3 for trial in pruned)
    assert set(study["importance"]) == {"shrink"}, "what pruned trials say about bad hyperparameters is not lost"


def test_a_trial_is_pruned_neither_in_its_first_quarter_nor_at_its_end(tune):
    space = '{"shrink":{"type":"float","low":0.001,"high":10000,"log":true}}'
    _, study = tune(trials=14, space=space, parameters='{"epochs":40}')
    assert {trial["epochs"] for trial in study["trials"]} == {10, 40}
    _, study = tune(trials=14, space=space, parameters='{"epochs":3}', name="short")
    assert {trial["state"] for trial in study["trials"]} == {"complete"}


@pytest.mark.slow
def test_importance_is_found_without_importing_scikit_learn():
    code = (
        "import sys, optuna\n"
        "from kfp_ratchet.components.tune.study import importance\n"
        "study = optuna.create_study()\n"
        "study.optimize(lambda trial: trial.suggest_float('a', 0, 1), n_trials=6)\n"
        "print(importance(study), {'sklearn', 'scipy', 'pandas'} & set(sys.modules))\n"
        "import sklearn.ensemble"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "{'a': 1.0} set()\n"


def run_until(tune, log, dies_at):
    code = (
        "import sys; from kfp_ratchet.components.tune.search import tune_workload; a = sys.argv[1:]\n"
        "tune_workload(*a[:7], 6, 0, 'cpu', *a[7:])"
    )
    step = tune.folder / "killed" / "tune"
    step.mkdir(parents=True, exist_ok=True)
    arguments = [
        str(tune.folder / "dataset"),
        "killed/ingest/dataset",
        "toy:Killed",
        '{"target":"late","id":"row","time":"when"}',
        '{"evaluate":"60h"}',
        "{}",
        "{}",
        str(tune.folder / "store"),
        str(step / "study"),
        str(step / "study"),
        str(step / "report"),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TOYS), os.environ.get("PYTHONPATH", "")]),
        "TOY_LOG": str(log),
        "TOY_DIES_AT": str(dies_at),
    }
    return subprocess.run([sys.executable, "-c", code, *arguments], env=environment, check=False).returncode


@pytest.mark.slow
def test_a_study_killed_in_the_middle_loses_and_repeats_no_finished_trial(tune, tmp_path):
    log = tmp_path / "fits"
    assert run_until(tune, log, dies_at=3) == -signal.SIGKILL
    assert run_until(tune, log, dies_at=5) == -signal.SIGKILL
    assert run_until(tune, log, dies_at=0) == 0
    study = Outcome.model_validate_json((tune.folder / "killed" / "tune" / "study").read_text())
    fits = log.read_text().split()
    assert fits[2] == fits[3] and fits[4] == fits[5], "the trial that was killed is drawn again"
    assert len(fits) == 8 and len(set(fits)) == 6
    killed = [trial for trial in study.trials if "killed" in trial.error]
    assert len(killed) == 2 and len(study.trials) - len(killed) == 6
    _, whole = tune(trials=6, store="whole")
    assert drawn(study.model_dump()) == drawn(whole)


def test_a_second_run_of_a_study_waits_for_the_first_and_shares_its_trials(tune):
    store = Store(str(tune.folder / "store"))
    _, before = tune(trials=2)
    name = next(store.keys("studies")).split("/")[1]
    origin = Origin(run="again", step="tune")

    def line():
        record = read_record(store, origin)
        return record.line if record else ""

    with ThreadPoolExecutor(1) as pool:
        with lease(store, f"studies/{name}"):
            study = open_study(name, store)
            running = study.ask()
            second = pool.submit(tune, trials=3, name="again")
            while not line().startswith("waiting for process") and not second.done():
                time.sleep(0.01)
            assert study.get_trials()[running.number].state.name == "RUNNING" and not second.done()
            running.suggest_float("shrink", 0.1, 100.0, log=True)
            study.tell(running, 0.5)
        _, after = second.result()
    assert after["trials"][:2] == before["trials"]
    assert [trial["value"] for trial in after["trials"][2:]] == [0.5]


def test_tabular_is_tuned(tune):
    import torch

    threads = torch.get_num_threads()
    best, study = tune("tabular", trials=2, parameters='{"epochs":2}')
    torch.set_num_threads(threads)
    assert best["epochs"] == 2 and study["trials"][0]["parameters"]["learning_rate"] == 0.002


def test_one_class_is_not_blamed_on_the_search_space(tune, rows, write_dataset):
    write_dataset(rows.with_columns(late=pl.lit(False)), tune.folder / "same")
    with pytest.raises(InputError, match=r"holds only 'false' .* a classifier needs two classes") as caught:
        tune(dataset="same")
    assert "search_space" not in str(caught.value)


def test_one_trial_is_told_in_the_singular(tune):
    tune(trials=1)
    record = read_record(Store(str(tune.folder / "store")), Origin(run="run", step="tune"))
    assert record.line.endswith(" of 1 complete trial")
