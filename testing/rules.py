"""The rules that a workload keeps, one function each. A broken rule is an AssertionError that says which."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from kfp_ratchet.components.shared.canonical import digest_folder
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.model_folder import pickled
from kfp_ratchet.components.train.contexts import checked
from kfp_ratchet.components.train.workload import Workload
from kfp_ratchet.components.tune.space import read_space
from kfp_ratchet.testing.tables import Example

_NO_SUCH = "no_such_hyperparameter"


class Interrupted(Exception):  # noqa: N818
    """Stands for the death of a process after an epoch."""


class RecordingContext:
    """A `FitContext` that keeps what it was told; dies after an epoch when asked to."""

    def __init__(self, seed: int = 0, checkpoint: bytes | None = None, die_after: int = 0) -> None:
        self.seed = seed
        self.device = "cpu"
        self.checkpoint = checkpoint
        self.epochs: list[int] = []
        self.saved = 0
        self._die_after = die_after

    def report(self, epoch: int, scores: Mapping[str, float], epochs: int = 0) -> None:
        checked(epoch, scores)
        self.epochs.append(epoch)

    def load_checkpoint(self) -> bytes | None:
        return self.checkpoint

    def save_checkpoint(self, content: Callable[[], bytes]) -> None:
        self.checkpoint = content()
        self.saved += 1
        if self.saved == self._die_after:
            raise Interrupted


@dataclass(frozen=True)
class Subject:
    """A workload under test: class, hyperparameters, table, and one fitted model."""

    kind: type[Workload]
    parameters: Mapping[str, Any]
    table: Example
    model: Workload
    context: RecordingContext

    def fit(self, context: RecordingContext) -> Workload:
        """Fit once more."""
        return fit(self.kind, self.parameters, self.table, context)


def fit(kind: type[Workload], parameters: Mapping[str, Any], table: Example, context: RecordingContext) -> Workload:
    """Fit a workload on an example."""
    return kind.fit(table.rows, table.validation, table.columns, dict(parameters), context)


def fit_leaves_its_inputs_alone(subject: Subject) -> None:
    """`fit` and `predict` do not change what they are given."""
    table, parameters = subject.table, dict(subject.parameters)
    before = [frame.clone() for frame in (table.rows, table.validation, table.fresh)]
    subject.kind.fit(table.rows, table.validation, table.columns, parameters, RecordingContext())
    subject.model.predict(table.fresh)
    assert parameters == dict(subject.parameters), "fit changed the parameters it was given"
    for name, old, new in zip(
        ("rows", "validation", "fresh"), before, (table.rows, table.validation, table.fresh), strict=True
    ):
        assert old.equals(new), f"fit or predict changed the {name} frame it was given"


def fit_reports_its_loss(subject: Subject) -> None:
    """`fit` reports a finite loss at least once, epochs counted from 1 upwards."""
    epochs = subject.context.epochs
    assert epochs, "fit never called context.report, so it can neither be tuned nor followed"
    assert epochs == list(range(1, len(epochs) + 1)), f"fit reported epochs {epochs[:5]}, not 1, 2, 3, ..."


def scores_have_the_right_shape(subject: Subject) -> None:
    """Scores are finite float64 of shape (n,), or (n, classes) for multiclass; probabilities lie in [0, 1] and sum to 1."""
    problem, fresh, classes = subject.table.columns.problem, subject.table.fresh, subject.model.classes
    scores = subject.model.predict(fresh)
    expected = (fresh.height, len(classes)) if problem == "multiclass" else (fresh.height,)
    assert isinstance(scores, np.ndarray), f"predict gave a {type(scores).__name__}, not a numpy array"
    assert scores.shape == expected, f"predict gave shape {scores.shape} for {problem}, not {expected}"
    assert scores.dtype == np.float64, f"predict gave {scores.dtype}, not float64"
    assert np.isfinite(scores).all(), "predict gave NaN or infinite scores"
    if problem != "regression":
        assert ((scores >= 0) & (scores <= 1)).all(), "predict gave probabilities outside [0, 1]"
    if problem == "multiclass":
        assert np.allclose(scores.sum(axis=1), 1, atol=1e-5), "predict gave class probabilities that do not sum to 1"


def classes_are_named(subject: Subject) -> None:
    """`classes` names the classes as text in score order; it is empty for regression."""
    expected = {"binary": ["false", "true"], "multiclass": ["blue", "green", "red"], "regression": []}
    found = list(subject.model.classes)
    wanted = expected[subject.table.columns.problem]
    assert found == wanted, f"classes is {found}, not {wanted}"


def the_target_is_not_needed(subject: Subject) -> None:
    """`predict` works without target, id, time, and does not look at them."""
    roles, fresh = subject.table.columns, subject.table.fresh
    bare = fresh.select(roles.features(fresh.columns))
    same = _close(subject.model.predict(bare), subject.model.predict(fresh))
    assert same, "scores change when target, id and time are not there: predict looks at them"


def the_model_has_learnt(subject: Subject) -> None:
    """Scores are not all the same on a table with a strong signal."""
    scores = subject.model.predict(subject.table.fresh)
    assert float(np.ptp(scores, axis=0).max()) > 0, "all rows get the same score on a table that is easy to learn"


def scores_do_not_depend_on_other_rows(subject: Subject) -> None:
    """A row's score is the same alone, among others, and in any order."""
    fresh = subject.table.fresh
    scores = subject.model.predict(fresh)
    backwards = subject.model.predict(fresh.reverse())[::-1]
    assert _close(scores, backwards), "scores depend on the order of the rows"
    single = subject.model.predict(fresh[:1])
    assert single.shape[0] == 1, f"a single row gets {single.shape[0]} scores"
    assert _close(single[0], scores[0]), "a row's score changes when it is scored alone"


def unseen_categories_are_scored(subject: Subject) -> None:
    """A category that training never saw gets a finite score."""
    strange = subject.table.fresh.with_columns(pl.lit("never seen in training").alias("place"))
    assert np.isfinite(subject.model.predict(strange)).all(), "a category never seen in training gets a NaN score"


def nulls_are_scored(subject: Subject) -> None:
    """A row whose features are all missing gets a finite score."""
    fresh = subject.table.fresh
    features = subject.table.columns.features(fresh.columns)
    empty = fresh.with_columns(pl.lit(None, dtype=fresh.schema[name]).alias(name) for name in features)
    assert np.isfinite(subject.model.predict(empty)).all(), "a row with missing features gets a NaN score"


def unknown_hyperparameters_are_refused(subject: Subject) -> None:
    """An unknown hyperparameter is an InputError that names it."""
    try:
        fit(subject.kind, {**subject.parameters, _NO_SUCH: 1}, subject.table, RecordingContext())
    except InputError as error:
        assert _NO_SUCH in str(error), f"the error does not name the unknown hyperparameter: {error}"
    else:
        raise AssertionError("an unknown hyperparameter is accepted silently; raise InputError and name it")


def save_and_load_keep_the_scores(subject: Subject) -> None:
    """A model that was saved and loaded gives the same scores and classes."""
    with tempfile.TemporaryDirectory() as folder:
        subject.model.save(Path(folder))
        again = subject.kind.load(Path(folder))
    fresh = subject.table.fresh
    assert _close(again.predict(fresh), subject.model.predict(fresh)), "scores change by save and load"
    assert list(again.classes) == list(subject.model.classes), "classes change by save and load"


def the_same_seed_gives_the_same_bytes(subject: Subject) -> None:
    """Two fits with one seed save the same bytes, whatever the process's own random state."""
    np.random.seed(1)
    again = subject.fit(RecordingContext(seed=subject.context.seed))
    assert _digest(again) == _digest(subject.model), "two fits with the same seed save different bytes"


def nothing_is_pickled(subject: Subject) -> None:
    """The saved folder holds no pickle."""
    with tempfile.TemporaryDirectory() as folder:
        subject.model.save(Path(folder))
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        assert files, "save wrote no files"
        for path in files:
            why = pickled(path)
            assert not why, f"save wrote {path.name}, which {why}: pickles execute code when loaded"


def a_resumed_fit_is_the_same_fit(subject: Subject) -> None:
    """If the workload saves checkpoints: a fit that dies after any of them and goes on gives the same bytes."""
    for epoch in sorted({1, max(1, subject.context.saved - 1)}):
        if not subject.context.saved:
            return
        died = RecordingContext(subject.context.seed, die_after=epoch)
        try:
            subject.fit(died)
        except Interrupted:
            pass
        else:
            raise AssertionError("fit swallows exceptions of context.save_checkpoint; let them pass through")
        resumed = subject.fit(RecordingContext(subject.context.seed, checkpoint=died.checkpoint))
        assert _digest(resumed) == _digest(subject.model), f"a fit resumed after epoch {epoch} saves different bytes"


def the_search_space_parses(subject: Subject) -> None:
    """`search_space` is one, and its hyperparameters are known to `fit`."""
    try:
        space = read_space(dict(subject.kind.search_space()), "search_space")
    except InputError as error:
        raise AssertionError(f"search_space() is not a search space: {error}") from error
    defaults = {name: dimension.default for name, dimension in space.items() if dimension.default is not None}
    try:
        fit(subject.kind, {**defaults, **subject.parameters}, subject.table, RecordingContext())
    except InputError as error:
        raise AssertionError(f"search_space() names what fit refuses: {error}") from error


RULES: tuple[Callable[[Subject], None], ...] = (
    fit_leaves_its_inputs_alone,
    fit_reports_its_loss,
    scores_have_the_right_shape,
    classes_are_named,
    the_target_is_not_needed,
    the_model_has_learnt,
    scores_do_not_depend_on_other_rows,
    unseen_categories_are_scored,
    nulls_are_scored,
    unknown_hyperparameters_are_refused,
    save_and_load_keep_the_scores,
    the_same_seed_gives_the_same_bytes,
    nothing_is_pickled,
    a_resumed_fit_is_the_same_fit,
    the_search_space_parses,
)


def _close(some: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> bool:
    # Float32 sums depend on the size of the batch in their last bits.
    return bool(np.allclose(some, others, rtol=1e-4, atol=1e-5))


def _digest(model: Workload) -> str:
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        return digest_folder(Path(folder))
