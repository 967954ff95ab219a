"""Make a model again from its pins, in a folder of its own; started by `ratchet model reproduce` as a process in the project's folder.

The steps' own logic is called with the parameters that the journal kept. Nothing is read from the project's store but the manifest of the
data and the evidence, and nothing is written to it.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from kfp_ratchet.components.evaluate import truth
from kfp_ratchet.components.evaluate.contender import Contender
from kfp_ratchet.components.shared.archive import fetch_evidence
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.credentials import HIDDEN
from kfp_ratchet.components.shared.dataset import read_main
from kfp_ratchet.components.shared.environment import Environment
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.evidence import ID, Facts, score_columns
from kfp_ratchet.components.shared.journal import Failure, Origin, Step, journal, read_run
from kfp_ratchet.components.shared.lineage import Lineage, MadeBy
from kfp_ratchet.components.shared.manifest import Manifest, counted, short
from kfp_ratchet.components.shared.model import Card, model_digest
from kfp_ratchet.components.shared.parameters import parse_parameter
from kfp_ratchet.components.shared.split import split
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.shared.window import Window
from kfp_ratchet.pipelines.local import end_with_parent

RUN = "remade"
STORE = "store"
"""Name of the store that the steps are given, within the folder."""
_MODEL_STEP, _SCORING_STEP = "train", "evaluate"
_OUTPUTS = {"ingest": "dataset", "validate": "accepted", "prepare": "rows", _MODEL_STEP: "model"}
"""Name of the artifact that each step hands on."""


class Request(BaseModel):
    """What to make again: `request.json`."""

    model_config = ConfigDict(frozen=True)

    lineage: Lineage
    store: str = Field(description="URI of the project's store.")


class Remade(BaseModel):
    """What came of it: `remade.json`."""

    model_config = ConfigDict(frozen=True)

    digest: str = ""
    device: str = ""
    workload_digest: str = ""
    recipe_digest: str = ""
    environment: Environment = Environment()
    rows: int = Field(default=0, description="Evaluation rows whose scores were compared.")
    difference: float | None = Field(
        default=None, description="Largest difference between a score now and then; None when they were not compared."
    )
    largest: float = Field(default=0.0, description="Largest score then, without its sign.")
    not_compared: str = Field(default="", description="Why scores were not compared.")
    failure: Failure | None = Field(default=None, description="Why the model could not be made again.")
    exit_code: int = 0

    @classmethod
    def failed(cls, error: RatchetError) -> Self:
        """It could not be made again."""
        told = Failure(kind=error.kind, message=error.message, remedy=error.remedy)
        return cls(failure=told, exit_code=error.exit_code)


def check_pins(lineage: Lineage) -> None:
    """Whether a lineage says all that is needed to make its model again.

    Raises:
        InputError: A step left no record, is none of this package, or a parameter of it was left out.
    """
    waiting = [_maker(lineage)]
    while waiting:
        made = waiting.pop()
        if made.problem:
            raise InputError(
                f"v{lineage.version} cannot be made again: of the step {made.step} of {made.run} nothing is known: {made.problem}",
                "only versions whose whole chain left records can be",
            )
        if made.step not in _OUTPUTS:
            raise InputError(
                f"v{lineage.version} cannot be made again: its step {made.step!r} is not one of {', '.join(_OUTPUTS)}",
                "run its own pipeline again",
            )
        if hidden := [name for name, value in made.parameters.items() if value == HIDDEN]:
            raise InputError(
                f"v{lineage.version} cannot be made again: {hidden[0]} of {made.step} held a credential and was not kept",
                "pass credentials by the environment",
            )
        waiting += [_behind(lineage, origin) for origin in made.inputs.values()]


def remake(request: Request, folder: Path) -> Remade:
    """Make the model again and score the rows that judged it.

    Args:
        request: What to make.
        folder: Where; left with `remade/<step>/`.

    Raises:
        RatchetError: A step failed: the data is gone or was changed, or the workload cannot be imported.
    """
    lineage, ours = request.lineage, Store(str(folder / STORE))
    _lend_manifest(lineage, Store(request.store), ours, folder)
    made: dict[Origin, Path] = {}
    fitted = _maker(lineage)
    model = _make(lineage, fitted, folder, made)
    card = Card.read(model)
    chain = [MadeBy.of(Origin(run=RUN, step=step), record) for step, record in read_run(ours, RUN).items()]
    found = Remade(
        digest=model_digest(model),
        device=card.device,
        workload_digest=card.code.get("workload", ""),
        recipe_digest=next((made_by.recipe_digest for made_by in chain if made_by.recipe_digest), ""),
        environment=Environment.now(),
    )
    judged = lineage.step(_SCORING_STEP)
    if not lineage.evidence_digest or judged is None or judged.problem or "dataset" not in judged.inputs:
        return found.model_copy(update={"not_compared": "the scores of then are not kept"})
    rows = _make(lineage, _behind(lineage, judged.inputs["dataset"]), folder, made)
    with journal(ours.uri, _uri(folder, _SCORING_STEP, "scores")) as step:
        return found.model_copy(update=_compared(request, judged, rows, model, folder, step))


def _maker(lineage: Lineage) -> MadeBy:
    """The step that made the model.

    Raises:
        InputError: The chain has none.
    """
    found = lineage.step(_MODEL_STEP)
    if found is None:
        raise InputError(
            f"v{lineage.version} cannot be made again: no step {_MODEL_STEP} is in its lineage",
            f"see what is: ratchet model trace {lineage.model}@{lineage.version}",
        )
    return found


def _behind(lineage: Lineage, origin: Origin) -> MadeBy:
    chain = {(made.run, made.step): made for made in lineage.steps}
    return chain.get((origin.run, origin.step)) or MadeBy.of(origin, None)


def _make(lineage: Lineage, made_by: MadeBy, folder: Path, made: dict[Origin, Path]) -> Path:
    """Call a step's logic with its parameters of then, after the steps behind it; each once."""
    origin = Origin(run=made_by.run, step=made_by.step)
    if origin in made:
        return made[origin]
    inputs = {name: _make(lineage, _behind(lineage, before), folder, made) for name, before in made_by.inputs.items()}
    step = made_by.step
    output = folder / RUN / step / _OUTPUTS[step]
    output.parent.mkdir(parents=True, exist_ok=True)
    arguments = {**made_by.parameters, "store": str(folder / STORE)}
    for name, path in inputs.items():
        arguments |= _as_arguments(step, name, path)
    arguments |= _as_arguments(step, _OUTPUTS[step], output)
    if step == "validate":
        arguments["report_path"] = str(output.with_name("report.html"))
    logic = _logic(step)
    _check_call(logic, arguments, made_by)
    try:
        logic(**arguments)
    except RatchetError as error:
        if step != "ingest":
            raise
        raise type(error)(
            error.message, f"bring back the data of revision {short(lineage.revision)}: a model comes of its very bytes"
        ) from error
    made[origin] = output
    return output


def _as_arguments(step: str, name: str, path: Path) -> dict[str, str]:
    """A folder as a step's logic takes it: `train` calls it by its name, the others by `<name>_path`."""
    return {name if step == _MODEL_STEP else f"{name}_path": str(path), f"{name}_uri": str(path)}


def _logic(step: str) -> Callable[..., object]:
    from kfp_ratchet.components.ingest.tables import ingest_source
    from kfp_ratchet.components.prepare.recipe import prepare_rows
    from kfp_ratchet.components.train.fit import train_workload
    from kfp_ratchet.components.validate.validation import validate_dataset

    logic: Mapping[str, Callable[..., object]] = {
        "ingest": ingest_source,
        "validate": validate_dataset,
        "prepare": prepare_rows,
        _MODEL_STEP: train_workload,
    }
    return logic[step]


def _check_call(logic: Callable[..., object], arguments: Mapping[str, Any], made_by: MadeBy) -> None:
    try:
        inspect.signature(logic).bind(**arguments)
    except TypeError as error:
        raise InputError(
            f"the step {made_by.step} takes other parameters than kfp-ratchet {made_by.environment.package} gave it: {error}",
            "install that version and try again",
        ) from error


def _lend_manifest(lineage: Lineage, theirs: Store, ours: Store, folder: Path) -> None:
    """With the manifest at hand, `ingest` reads the listed versions and names the object that is gone or changed."""
    file = folder / "manifest.parquet"
    if lineage.manifest and theirs.download(Manifest.key(lineage.revision), file):
        ours.upload(Manifest.key(lineage.revision), file)


def _compared(request: Request, judged: MadeBy, rows: Path, model: Path, folder: Path, step: Step) -> dict[str, Any]:
    """The re-made model's scores of the evaluation rows beside those that are kept."""
    try:
        evidence = fetch_evidence(Store(request.store), request.lineage.evidence_digest, folder / "evidence")
    except RatchetError as error:
        return {"not_compared": error.message}
    facts = Facts.read(evidence)
    columns = score_columns("candidate", facts)
    then = pl.read_parquet(evidence / "rows.parquet", columns=[ID, *columns]).sort(ID, *columns)
    roles = parse_parameter(Columns, judged.parameters["columns"], "columns")
    rows_now = split(read_main(rows), roles, parse_parameter(Window, judged.parameters["window"], "window")).evaluate
    step.progress(f"scoring {counted(rows_now.height, 'row')}")
    scores = Contender.load("re-made model", model, roles).aligned(rows_now, facts.classes).reshape(rows_now.height, -1)
    scored = {name: scores[:, index] for index, name in enumerate(columns)}
    now = pl.DataFrame({ID: truth.ids(rows_now, roles), **scored}).sort(ID, *columns)
    if not now[ID].equals(then[ID]):
        return {
            "not_compared": f"the rows are not those of then: {counted(now.height, 'row')} now, {then.height:,} then"
        }
    before, after = (frame.select(columns).to_numpy() for frame in (then, now))
    difference = float(np.abs(after - before).max(initial=0.0))
    step.found(f"{counted(now.height, 'row')}, largest difference of a score {difference:g}")
    return {"rows": now.height, "difference": difference, "largest": float(np.abs(before).max(initial=0.0))}


def _uri(folder: Path, step: str, name: str) -> str:
    return str(folder / RUN / step / name)


if __name__ == "__main__":
    end_with_parent()
    here = Path(sys.argv[1])
    try:
        outcome = remake(Request.model_validate_json((here / "request.json").read_text(encoding="utf-8")), here)
    except RatchetError as stopped:
        outcome = Remade.failed(stopped)
    (here / "remade.json").write_text(outcome.model_dump_json(indent=1), encoding="utf-8")
