"""The tune step: search the workload's hyperparameters on the training window."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from kfp_ratchet.components.shared.canonical import dumps
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.journal import Step, journal
from kfp_ratchet.components.train.hyperparameters import parse_hyperparameters
from kfp_ratchet.components.tune.outcome import Outcome, Trial

if TYPE_CHECKING:
    import optuna


def tune_workload(
    dataset: str,
    dataset_uri: str,
    workload: str,
    columns: str,
    window: str,
    parameters: str,
    search_space: str,
    trials: int,
    seed: int,
    device: str,
    store: str,
    study: str,
    study_uri: str,
    report: str,
) -> str:
    """Search the best hyperparameters by the loss on the tail of the training window; evaluation rows are never touched.

    Args:
        dataset: Folder of the model rows.
        dataset_uri: URI of the same.
        workload: `tabular` or `package.module:Class`.
        columns: `Columns` as JSON.
        window: `Window` as JSON.
        parameters: Fixed hyperparameters as JSON.
        search_space: `SearchSpace` as JSON; the workload's own when empty.
        trials: Finished trials at the end; with 0 nothing is read and the fixed hyperparameters are the answer.
        seed: Seed of sampler and fits.
        device: auto, cpu, cuda or cuda:N.
        store: URI of the store; "" keeps journal and study nowhere.
        study: JSON file to write.
        study_uri: URI of the same.
        report: HTML file to write.

    Returns:
        The best hyperparameters, fixed ones included, as canonical JSON.

    Raises:
        InputError: A parameter is wrong.
        RatchetError: The rows cannot be fitted, or all trials failed.
    """
    called = {
        "workload": workload,
        "columns": columns,
        "window": window,
        "parameters": parameters,
        "search_space": search_space,
        "trials": trials,
        "seed": seed,
        "device": device,
    }
    with journal(store, study_uri, {"dataset": dataset_uri}, called) as step:
        fixed = parse_hyperparameters(parameters)
        if trials < 0:
            raise InputError(f"trials is {trials}", "use 0 for no tuning, or a positive number")
        if trials:
            found = _search(dataset, workload, columns, window, fixed, search_space, trials, seed, device, store, step)
        else:
            found = Outcome(workload=workload, best=fixed, fixed=fixed)
        found.write(study, report)
        step.found(found.line, **found.model_dump(mode="json"))
        return dumps(found.best)


def _search(
    dataset: str,
    workload: str,
    columns: str,
    window: str,
    fixed: Mapping[str, Any],
    search_space: str,
    trials: int,
    seed: int,
    device: str,
    store: str,
    step: Step,
) -> Outcome:
    # Here, and not above: without trials this step needs neither Optuna nor torch.
    from kfp_ratchet.components.shared.lease import lease
    from kfp_ratchet.components.shared.model import workload_class
    from kfp_ratchet.components.shared.store import Store
    from kfp_ratchet.components.train.device import resolve_device
    from kfp_ratchet.components.train.fit import fit_named
    from kfp_ratchet.components.train.provenance import fit_key
    from kfp_ratchet.components.train.rows import read_fit_rows
    from kfp_ratchet.components.tune.space import parse_space, read_space
    from kfp_ratchet.components.tune.study import TrialContext, importance, open_study, run_trials

    kind = workload_class(workload)
    space = parse_space(search_space) or read_space(dict(kind.search_space()), f"search space of {workload}")
    space = {name: dimension for name, dimension in space.items() if name not in fixed}
    if not space:
        raise InputError(
            "there is nothing to tune: every hyperparameter of the search space is fixed by parameters",
            "set trials to 0, or fix fewer",
        )
    data = read_fit_rows(dataset, columns, window)
    place = resolve_device(device)
    described = {name: dimension.model_dump(mode="json") for name, dimension in space.items()}
    name, kept = fit_key(data, workload, seed, place, fixed=fixed, space=described), Store(store) if store else None

    def fit(parameters: Mapping[str, Any], context: TrialContext) -> None:
        fit_named(kind, workload, data, parameters, context)

    # One at a time: an identical run waits, and then finds the trials it wants.
    with lease(kept, f"studies/{name}", step.progress) if kept else nullcontext():
        ended = run_trials(open_study(name, kept), space, fixed, fit, trials, seed, place, step.progress, kept)
    return Outcome(
        workload=workload,
        best={**ended.best_params, **fixed},
        fixed=dict(fixed),
        value=ended.best_value,
        trials=[_trial(trial) for trial in ended.trials],
        importance=importance(ended),
    )


def _trial(trial: "optuna.trial.FrozenTrial") -> Trial:
    began, ended = trial.datetime_start, trial.datetime_complete
    return Trial(
        number=trial.number,
        state=trial.state.name.lower(),
        value=trial.value if trial.state.name == "COMPLETE" else None,
        parameters=trial.params,
        seconds=round((ended - began).total_seconds(), 3) if began and ended else None,
        epochs=len(trial.intermediate_values),
        error=trial.user_attrs.get("error", "killed before its end; drawn again" if trial.state.name == "FAIL" else ""),
    )
