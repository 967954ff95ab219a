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
from kfp_ratchet.components.evaluate.probing import latency_ms, probe, sanity
from kfp_ratchet.components.gate.policy import DEFAULT_METRIC
from kfp_ratchet.components.shared.canonical import digest_file, dumps
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.dataset import Dataset, read_main
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.evidence import ID, LABEL, WEIGHT, Evidence
from kfp_ratchet.components.shared.journal import Origin, journal, read_record
from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.model import model_digest
from kfp_ratchet.components.shared.parameters import parse_parameter
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
    tracking_uri: str,
    store: str,
    evidence_path: str,
    evidence_uri: str,
) -> None:
    """Score the candidate and the pinned champion on the evaluation window and write the evidence folder.

    The folder's bytes are a function of the inputs, but for `latency.json`.

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
        tracking_uri: MLflow tracking URI that the champion is fetched from.
        store: Store of the journal, "" keeps none.
        evidence_path: Folder to write.
        evidence_uri: Its URI, for the journal.

    Raises:
        InputError: Bad columns or window, or a champion named by half.
        RatchetError: The candidate was changed since it was made, rows cannot be judged on, or a model cannot score them.
    """
    with journal(store, evidence_uri, inputs={"dataset": dataset_uri, "model": model_uri}) as step:
        roles = parse_parameter(Columns, columns, "columns")
        if not roles.target:
            raise InputError("columns.target is not set", "name the column to predict")
        if bool(champion_version) != bool(champion_digest):
            raise InputError(
                f"champion_version is {champion_version!r} but champion_digest is {champion_digest!r}",
                "pass both from pin, or neither",
            )
        cut = parse_parameter(Window, window, "window")
        dataset = Dataset.read(dataset_path)
        rows = read_main(dataset_path)
        parts = split(rows, roles, cut)
        _check_unchanged(model_path, model_uri, store)
        candidate = Contender.load("candidate", model_path, roles)
        with TemporaryDirectory() as scratch:
            champion = None
            if champion_digest == candidate.digest:
                champion = candidate
            elif champion_digest:
                step.progress(f"fetching champion v{champion_version}")
                champion = _fetch(tracking_uri, model_name, champion_version, champion_digest, Path(scratch), roles)
            step.progress(f"scoring {counted(parts.evaluate.height, 'row')}")
            seen = _see(candidate, champion, parts, roles)
            evidence = Evidence(
                problem=roles.problem,
                classes=seen.classes,
                slices=list(roles.slices),
                rows=seen.table.height,
                accepted_rows=dataset.accepted_rows or rows.height,
                revision=dataset.revision,
                split_rule=parts.rule,
                candidate_digest=candidate.digest,
                champion_version=champion_version,
                champion_digest=champion_digest,
                baseline=truth.baseline(parts.train, roles, seen.classes),
                sanity=sanity(candidate, parts.evaluate, seen.raw_scores),
            )
            _write(Path(evidence_path), evidence, seen.table, probe(candidate, parts.evaluate, seen.raw_scores))
            timed = {"candidate": candidate} | ({"champion": champion} if champion else {})
            latency = {name: latency_ms(model, parts.evaluate) for name, model in timed.items()}
            Path(evidence_path, "latency.json").write_text(dumps(latency))
        step.progress("looking at what the candidate goes by")
        sound = all(evidence.sanity.values())
        step.found(
            _line(evidence),
            rows=evidence.rows,
            candidate_digest=candidate.digest,
            champion_version=champion_version,
            split_rule=parts.rule,
            problem=roles.problem,
            calibration=calibration(roles.problem, seen.label, seen.scores["candidate"], seen.weight) if sound else [],
            champion_calibration=calibration(roles.problem, seen.label, seen.scores["champion"], seen.weight)
            if champion is not None and champion is not candidate
            else [],
            explanation_metric=DEFAULT_METRIC[roles.problem],
            explanation=importance(candidate, parts.evaluate, seen.label, seen.weight, seen.classes) if sound else [],
        )


@dataclass(frozen=True)
class _Seen:
    """The evaluation rows as both models saw them, in the order of the split; `table` is sorted by id."""

    classes: list[str]
    label: Array
    weight: Array
    raw_scores: Array
    """The candidate's, by its own classes."""
    scores: dict[str, Array]
    """Of `candidate` and `champion`, by `classes`."""
    table: pl.DataFrame


def _see(candidate: Contender, champion: Contender | None, parts: Split, roles: Columns) -> _Seen:
    judged = parts.evaluate
    own = candidate.card.classes
    classes = truth.judged_classes([own, champion.card.classes if champion else []], parts, roles)
    label, weight = truth.labels(judged, roles, classes), row_weights(judged, roles)
    raw_scores = candidate.scores(judged)
    scores = {"candidate": align(raw_scores, own, classes, "candidate")}
    if champion is not None:
        scores["champion"] = scores["candidate"] if champion is candidate else champion.aligned(judged, classes)
    by_column: dict[str, Array] = {}
    for name, values in scores.items():
        by_column |= (
            {f"{name}:{one}": values[:, index] for index, one in enumerate(classes)}
            if values.ndim == 2
            else {name: values}
        )
    table = {ID: truth.ids(judged, roles), LABEL: label, WEIGHT: weight, **truth.slices(judged, roles), **by_column}
    return _Seen(classes, label, weight, raw_scores, scores, pl.DataFrame(table).sort(ID))


def _check_unchanged(model: str, model_uri: str, store: str) -> None:
    """Refuse a candidate that is not what the step that made it wrote down; before anything in it runs."""
    record = read_record(Store(store), Origin.of(model_uri)) if store else None
    recorded, found = record.details.get("digest") if record else None, model_digest(model)
    if recorded and recorded != found:
        raise RatchetError(
            f"the model {model} is {found}, but its step made {recorded}: it was changed since",
            "delete that folder and start the run again, which trains it anew",
        )


def _fetch(tracking_uri: str, model_name: str, version: str, digest: str, into: Path, roles: Columns) -> Contender:
    # mlflow takes seconds to import, and a first model does not need it.
    from kfp_ratchet.components.shared.registry import fetch

    folder = fetch(tracking_uri, model_name, version, digest, into)
    return Contender.load(f"champion v{version}", folder, roles)


def _write(folder: Path, evidence: Evidence, table: pl.DataFrame, probed: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table.write_parquet(folder / "rows.parquet", compression="zstd")
    evidence.rows_digest = digest_file(folder / "rows.parquet")
    evidence.write(folder)
    (folder / "probe.json").write_text(dumps(probed))


def _line(evidence: Evidence) -> str:
    line = f"scored {counted(evidence.rows, 'row')} with the candidate"
    if not evidence.champion_digest:
        line += "; there is no champion yet"
    elif evidence.champion_digest == evidence.candidate_digest:
        line += f", which is champion v{evidence.champion_version} itself"
    else:
        line += f" and champion v{evidence.champion_version}"
    failed = [name for name, passed in evidence.sanity.items() if not passed]
    return line + (f"; the candidate's scores fail {', '.join(failed)}" if failed else "")
