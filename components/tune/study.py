"""A study that goes on where it was killed: finished trials are neither lost nor repeated.

The sampler of each trial is seeded by the study's seed and the number of finished trials. A trial that was running when the process died
is marked failed, and the next one draws the same hyperparameters again and goes on from its checkpoint: an interrupted study ends like an
uninterrupted one. Pruning keeps to that: it looks at complete trials only (successive halving would count the killed ones too).
"""

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from kfp_ratchet.components.shared.canonical import digest, dumps
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.train.checkpoints import Checkpoints, PreemptedError
from kfp_ratchet.components.train.contexts import Pruned, checked
from kfp_ratchet.components.tune.space import SearchSpace, defaults, suggest
from kfp_ratchet.components.tune.storage import StoreJournal

_ERROR = "error"
_STARTUP_TRIALS = 5
# Chosen by benchmarks/tuning_pruning.py. Before the third epoch losses hardly say how a trial ends, and a fit of hundreds of epochs
# (boosting rounds, say) is given a quarter of them: a low learning rate starts slowly.
_KEPT_PERCENT = 25.0
_WARM_UP_EPOCHS = 3
_WARM_UP_SHARE = 0.25

Fit = Callable[[Mapping[str, Any], "TrialContext"], None]


class TrialContext:
    """The context of a trial's fit: every epoch's best loss so far goes to the study, which may prune; see `FitContext`."""

    def __init__(self, trial: optuna.Trial, seed: int, device: str, checkpoints: Checkpoints | None = None) -> None:
        self.seed = seed
        self.device = device
        self.best = math.inf
        self.checkpoints = checkpoints or Checkpoints(None, "")
        self._trial = trial

    def report(self, epoch: int, scores: Mapping[str, float], epochs: int = 0) -> None:
        """Keep the best loss so far, which is what the trial will be judged by.

        Raises:
            Pruned: After the warm-up, the best quarter of the complete trials had done better at this epoch.
            RatchetError: A score is NaN or infinite.
        """
        self.best = min(self.best, checked(epoch, scores)["loss"])
        self._trial.report(self.best, epoch)
        if epoch == epochs or epoch < max(_WARM_UP_EPOCHS, _WARM_UP_SHARE * epochs):
            return
        if self._trial.should_prune():
            raise Pruned

    def load_checkpoint(self) -> bytes | None:
        """The last checkpoint of a trial that was killed: the next one draws the same hyperparameters."""
        return self.checkpoints.load()

    def save_checkpoint(self, content: Callable[[], bytes]) -> None:
        """Write a checkpoint when the last one is old enough, or when the process was told to end.

        Raises:
            PreemptedError: It was, and this one is written.
        """
        self.checkpoints.save(content)


def open_study(name: str, store: Store | None) -> optuna.Study:
    """Open or make the study of that name; in memory without a store.

    Trials that died with their process are marked failed: whoever opens a study in a store holds the lease on it.

    Raises:
        RatchetError: What is kept of it is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    log = StoreJournal(store, f"studies/{name}") if store else None
    pruner = optuna.pruners.PercentilePruner(_KEPT_PERCENT, n_startup_trials=1)
    try:
        if log:
            log.check()
        storage = optuna.storages.JournalStorage(log) if log else None
        study = optuna.create_study(storage=storage, study_name=name, pruner=pruner, load_if_exists=True)
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
    except RatchetError:
        raise
    except Exception as error:
        # Optuna replays the log without looking at it.
        raise RatchetError(
            f"the study studies/{name} cannot be replayed: {type(error).__name__}: {error}",
            f"delete the folder studies/{name} in the store: the search then starts anew",
        ) from error
    return study


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that ran to their end: complete, pruned, or failed by themselves. Killed ones are not among them."""
    ends = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return [trial for trial in ends if trial.state != TrialState.FAIL or _ERROR in trial.user_attrs]


def first(study: optuna.Study, trials: int) -> optuna.Study:
    """The study as it stood after so many finished trials: what it found must not depend on how far another run has taken it."""
    last = finished(study)[:trials][-1].number
    seen = optuna.create_study()
    seen.add_trials(
        [trial for trial in study.get_trials() if trial.number <= last and trial.state != TrialState.RUNNING]
    )
    return seen


def run_trials(
    study: optuna.Study,
    space: SearchSpace,
    fixed: Mapping[str, Any],
    fit: Fit,
    trials: int,
    seed: int,
    device: str,
    progress: Callable[[str], None],
    store: Store | None = None,
) -> optuna.Study:
    """Run trials until the study has `trials` finished ones.

    Args:
        study: From `open_study`.
        space: What to search.
        fixed: Hyperparameters that are not searched.
        fit: Fits with hyperparameters and a context; raises what a workload raises.
        trials: Finished trials at the end.
        seed: Seed of sampler and fits.
        device: Resolved device.
        progress: Takes a progress line.
        store: Where the running trial's checkpoint goes; None keeps none.

    Returns:
        The study after that many.

    Raises:
        InputError: From a fit: a hyperparameter that no trial can have.
        PreemptedError: The process was told to end during a trial.
        RatchetError: All trials failed.
    """
    if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)) and not finished(study) and defaults(space):
        study.enqueue_trial(defaults(space))
    progress(standing(study, trials))
    while (done := len(finished(study))) < trials:
        study.sampler = _sampler(seed, done)
        trial = study.ask()
        parameters = {**suggest(trial, space), **fixed}
        drawn = digest(dumps({"parameters": parameters, "done": done})).removeprefix("sha256:")[:16]
        checkpoints = Checkpoints(store, f"checkpoints/{study.study_name}/{drawn}")
        try:
            _run(study, trial, parameters, fit, TrialContext(trial, seed, device, checkpoints))
        except optuna.exceptions.UpdateFinishedTrialError:
            # This process stood still until its lease was taken for a dead one's; the next trial draws the same again.
            continue
        checkpoints.finish()
        progress(standing(study, trials))
    ended = first(study, trials)
    if not any(trial.state == TrialState.COMPLETE for trial in ended.trials):
        last = finished(ended)[-1].user_attrs.get(_ERROR, "pruned")
        raise RatchetError(
            f"all {trials} trials failed; the last one: {last}", "narrow search_space or fix the workload"
        )
    return ended


def standing(study: optuna.Study, trials: int) -> str:
    """One line: trial 4/10 · best 0.4312 · pruned 1."""
    ends = finished(study)
    values = [trial.value for trial in ends if trial.state == TrialState.COMPLETE and trial.value is not None]
    counts = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    said = [f"trial {len(ends)}/{trials}"] + ([f"best {min(values):.4f}"] if values else [])
    for word, state in counts.items():
        count = sum(trial.state == state for trial in ends)
        said += [f"{word} {count}"] if count else []
    return " · ".join(said)


def importance(study: optuna.Study) -> dict[str, float]:
    """Share of each searched hyperparameter in what made trials good (PED-ANOVA, Watanabe et al. 2023); {} for under 5 trials.

    A pruned trial counts with the best loss it reached: most of what the study knows about bad hyperparameters is there.
    """
    judged = optuna.create_study()
    for trial in study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)):
        if trial.state == TrialState.PRUNED and trial.intermediate_values:
            trial.state, trial.value = TrialState.COMPLETE, trial.intermediate_values[max(trial.intermediate_values)]
        judged.add_trial(trial)
    if len(judged.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < _STARTUP_TRIALS:
        return {}
    with _without("sklearn"):
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = get_param_importances(judged, evaluator=PedAnovaImportanceEvaluator())
    return {name: round(share, 4) for name, share in shares.items() if math.isfinite(share)}


@contextmanager
def _without(package: str) -> Iterator[None]:
    """Let an import do without an optional package: `optuna.importance` wants scikit-learn, seconds to import, for measures unused here."""
    absent = sys.modules.setdefault(package, None) is None  # type: ignore[arg-type]
    try:
        yield
    finally:
        if absent:
            del sys.modules[package]


def _run(
    study: optuna.Study, trial: optuna.Trial, parameters: Mapping[str, Any], fit: Fit, context: TrialContext
) -> None:
    try:
        fit(parameters, context)
    except Pruned:
        study.tell(trial, state=TrialState.PRUNED)
    except (InputError, PreemptedError):
        study.tell(trial, state=TrialState.FAIL)
        raise
    except RatchetError as error:
        trial.set_user_attr(_ERROR, str(error))
        study.tell(trial, state=TrialState.FAIL)
    else:
        if math.isfinite(context.best):
            study.tell(trial, context.best)
            return
        trial.set_user_attr(_ERROR, "the workload reported no loss; see FitContext.report")
        study.tell(trial, state=TrialState.FAIL)


def _sampler(seed: int, done: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        mixed = int(np.random.SeedSequence((abs(seed), done)).generate_state(1)[0])
        return optuna.samplers.TPESampler(seed=mixed, n_startup_trials=_STARTUP_TRIALS, multivariate=True)
