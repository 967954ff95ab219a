"""Score candidate and champion on the same rows and write the evidence."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from kfp_ratchet.components.evaluate import truth
from kfp_ratchet.components.evaluate.calibration import calibration
from kfp_ratchet.components.evaluate.contender import Array, Contender, align
from kfp_ratchet.components.evaluate.explain import importance
from kfp_ratchet.components.evaluate.latency import latencies
from kfp_ratchet.components.evaluate.memory import MemoryProbe
from kfp_ratchet.components.evaluate.probing import probe, sanity
from kfp_ratchet.components.evaluate.shown import compared, show_curves
from kfp_ratchet.components.gate.metric_kinds import DEFAULT_METRIC
from kfp_ratchet.components.shared.canonical import digest_file, dumps
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.dataset import Dataset, read_main
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.evidence import ID, LABEL, WEIGHT, Facts, Model, Operations
from kfp_ratchet.components.shared.journal import Origin, journal, read_record
from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.model import model_digest
from kfp_ratchet.components.shared.parameters import parse_parameter
from kfp_ratchet.components.shared.shown import Curves, Scalars, show, write
from kfp_ratchet.components.shared.split import Split, split
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.shared.window import Window
from kfp_ratchet.components.train.labels import row_weights


def evaluate_models(
    dataset_path: str,
    dataset_uri: str,
    model_path: str,
    model_uri: str,
    columns: str,
    window: str,
    model_name: str,
    champion_version: str,
    champion_digest: str,
    anchor_version: str,
    anchor_digest: str,
    tracking_uri: str,
    store: str,
    evidence_path: str,
    evidence_uri: str,
    scalars: Scalars | None = None,
    curves: Curves | None = None,
) -> None:
    """Score the candidate, the pinned champion and the anchor on the evaluation window and write the evidence folder.

    The folder's bytes are a function of the inputs, but for `operations.json`.

    Args:
        dataset_path: Folder of model rows.
        dataset_uri: Its URI, for the journal.
        model_path: The candidate's folder.
        model_uri: Its URI, for the journal.
        columns: `Columns` as JSON.
        window: `Window` as JSON, pinned.
        model_name: Registered name that the champion is fetched under.
        champion_version: Pinned version, "" when there is no champion.
        champion_digest: Pinned digest of the champion.
        anchor_version: Pinned version of the anchor, "" when it is the champion or there is none.
        anchor_digest: Pinned digest of the anchor.
        tracking_uri: MLflow tracking URI that the champion is fetched from.
        store: Store of the journal, "" keeps none.
        evidence_path: Folder to write.
        evidence_uri: Its URI, for the journal.
        scalars: Where the models' metrics are shown.
        curves: Where the candidate's ROC curve and confusion matrix are shown.

    Raises:
        InputError: Bad columns or window, or a champion or anchor named by half.
        RatchetError: The candidate was changed since it was made, rows cannot be judged on, or a model cannot score them.
    """
    called = {
        "columns": columns,
        "window": window,
        "model_name": model_name,
        "champion_version": champion_version,
        "champion_digest": champion_digest,
        "anchor_version": anchor_version,
        "anchor_digest": anchor_digest,
        "tracking_uri": tracking_uri,
    }
    with journal(store, evidence_uri, {"dataset": dataset_uri, "model": model_uri}, called) as step:
        roles = parse_parameter(Columns, columns, "columns")
        if not roles.target:
            raise InputError("columns.target is not set", "name the column to predict")
        _check_named("champion", champion_version, champion_digest)
        _check_named("anchor", anchor_version, anchor_digest)
        cut = parse_parameter(Window, window, "window")
        dataset = Dataset.read(dataset_path)
        rows = read_main(dataset_path)
        parts = split(rows, roles, cut)
        _check_unchanged(model_path, model_uri, store)
        with TemporaryDirectory() as scratch, MemoryProbe(parts.evaluate, Path(scratch)) as memory:
            memory.measure("candidate", model_path)
            candidate = Contender.load("candidate", model_path, roles)
            contenders: dict[Model, Contender] = {"candidate": candidate}
            anchor_problem = ""
            pinned: tuple[tuple[Model, str, str], ...] = (
                ("champion", champion_version, champion_digest),
                ("anchor", anchor_version, anchor_digest),
            )
            for name, version, digest in pinned:
                same = [model for model in contenders.values() if model.digest == digest]
                if same and name == "champion":
                    contenders[name] = same[0]
                elif digest and not same:
                    step.progress(f"fetching {name} v{version}")
                    into = Path(scratch, name)
                    try:
                        contenders[name] = _fetch(tracking_uri, model_name, name, version, digest, into, roles)
                    except Exception as error:  # loading runs the code of its workload
                        if name != "anchor":
                            raise
                        # An old model that is gone or cannot read today's rows is no reason to stop: whether it is needed is for the
                        # policy to say. No more of a foreign error than its kind: its text may name a folder of this very run.
                        said = f"the anchor v{version} cannot be loaded: {type(error).__name__}"
                        anchor_problem = error.message if isinstance(error, RatchetError) else said
                if name in _rivals(contenders):
                    memory.measure(name, contenders[name].folder)
            step.progress(f"scoring {counted(parts.evaluate.height, 'row')}")
            seen = _see(contenders, parts, roles)
            start, end = truth.span(parts.evaluate, roles)
            facts = Facts(
                problem=roles.problem,
                classes=seen.classes,
                slices=list(roles.slices),
                clustered_by=roles.cluster,
                rows=seen.table.height,
                accepted_rows=dataset.accepted_rows or rows.height,
                start=start,
                end=end,
                revision=dataset.revision,
                split_rule=parts.rule,
                candidate_digest=candidate.digest,
                champion_version=champion_version,
                champion_digest=champion_digest,
                anchor_version=anchor_version,
                anchor_digest=anchor_digest,
                anchor_problem=anchor_problem or seen.anchor_problem,
                baseline=truth.baseline(parts.train, roles, seen.classes),
                sanity=sanity(candidate, parts.evaluate, seen.raw_scores),
                size_mb={name: model.size_mb for name, model in _rivals(contenders).items()},
            )
            _write(Path(evidence_path), facts, seen.table, probe(candidate, parts.evaluate, seen.raw_scores))
            step.progress("looking at what the candidate goes by")
            sound = all(facts.sanity.values())
            explained = importance(candidate, parts.evaluate, seen.label, seen.weight, seen.classes) if sound else []
            step.progress("measuring memory and latency")
            grown = memory.found()
            timed = latencies(_rivals(contenders), parts.evaluate)
            Operations(latency_ms=timed, memory_mb=grown).write(evidence_path)
        if scalars is not None:
            show(scalars, compared(roles.problem, seen.label, seen.scores, seen.weight))
        if curves is not None:
            show_curves(curves, roles.problem, seen.classes, seen.label, seen.scores["candidate"], seen.weight)
            write(curves)
        rival = champion_digest not in ("", candidate.digest)
        step.found(
            _line(facts),
            rows=facts.rows,
            candidate_digest=candidate.digest,
            champion_version=champion_version,
            split_rule=parts.rule,
            problem=roles.problem,
            calibration=calibration(roles.problem, seen.label, seen.scores["candidate"], seen.weight) if sound else [],
            champion_calibration=calibration(roles.problem, seen.label, seen.scores["champion"], seen.weight)
            if rival
            else [],
            explanation_metric=DEFAULT_METRIC[roles.problem],
            explanation=explained,
        )


@dataclass(frozen=True)
class _Seen:
    """The evaluation rows as both models saw them, in the order of the split; `table` is sorted by id."""

    classes: list[str]
    label: Array
    weight: Array
    raw_scores: Array
    """The candidate's, by its own classes."""
    scores: dict[Model, Array]
    """Of each model that scored them, by `classes`."""
    anchor_problem: str
    table: pl.DataFrame


def _see(contenders: dict[Model, Contender], parts: Split, roles: Columns) -> _Seen:
    judged, candidate = parts.evaluate, contenders["candidate"]
    classes = truth.judged_classes([model.card.classes for model in contenders.values()], parts, roles)
    label, weight = truth.labels(judged, roles, classes), row_weights(judged, roles)
    raw_scores = candidate.scores(judged)
    scores: dict[Model, Array] = {"candidate": align(raw_scores, candidate.card.classes, classes, "candidate")}
    anchor_problem = ""
    for name, model in contenders.items():
        if model is candidate:
            scores[name] = scores["candidate"]
            continue
        try:
            scores[name] = model.aligned(judged, classes)
        except RatchetError as error:
            if name != "anchor":
                raise
            anchor_problem = error.message
    by_column: dict[str, Array] = {}
    for name, values in scores.items():
        by_column |= (
            {f"{name}:{one}": values[:, index] for index, one in enumerate(classes)}
            if values.ndim == 2
            else {name: values}
        )
    table = {
        ID: truth.ids(judged, roles),
        LABEL: label,
        WEIGHT: weight,
        **truth.clusters(judged, roles),
        **truth.slices(judged, roles),
        **by_column,
    }
    return _Seen(classes, label, weight, raw_scores, scores, anchor_problem, pl.DataFrame(table).sort(ID))


def _rivals(contenders: dict[Model, Contender]) -> dict[Model, Contender]:
    """The models whose costs are compared."""
    return {name: model for name, model in contenders.items() if name != "anchor"}


def _check_named(name: Model, version: str, digest: str) -> None:
    if bool(version) != bool(digest):
        raise InputError(
            f"{name}_version is {version!r} but {name}_digest is {digest!r}", "pass both from pin, or neither"
        )


def _check_unchanged(model: str, model_uri: str, store: str) -> None:
    """Refuse a candidate that is not what the step that made it wrote down; before anything in it runs."""
    record = read_record(Store(store), Origin.of(model_uri)) if store else None
    recorded, found = record.details.get("digest") if record else None, model_digest(model)
    if recorded and recorded != found:
        raise RatchetError(
            f"the model {model} is {found}, but its step made {recorded}: it was changed since",
            "delete that folder and start the run again, which trains it anew",
        )


def _fetch(
    tracking_uri: str, model_name: str, name: Model, version: str, digest: str, into: Path, roles: Columns
) -> Contender:
    # mlflow takes seconds to import, and a first model does not need it.
    from kfp_ratchet.components.shared.registry import fetch

    folder = fetch(tracking_uri, model_name, version, digest, into)
    return Contender.load(f"{name} v{version}", folder, roles)


def _write(folder: Path, facts: Facts, table: pl.DataFrame, probed: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table.write_parquet(folder / "rows.parquet", compression="zstd")
    facts.rows_digest = digest_file(folder / "rows.parquet")
    facts.write(folder)
    (folder / "probe.json").write_text(dumps(probed))


def _line(facts: Facts) -> str:
    line = f"scored {counted(facts.rows, 'row')} with the candidate"
    if not facts.champion_digest:
        line += "; there is no champion yet"
    elif facts.champion_digest == facts.candidate_digest:
        line += f", which is champion v{facts.champion_version} itself"
    else:
        line += f" and champion v{facts.champion_version}"
    if facts.has_anchor:
        line += f", and anchor v{facts.anchor_version}"
    elif facts.anchor_problem:
        line += f"; anchor v{facts.anchor_version} cannot score them"
    failed = [name for name, passed in facts.sanity.items() if not passed]
    return line + (f"; the candidate's scores fail {', '.join(failed)}" if failed else "")
