"""How the naive rule's model would have served: scored beside the model that was live, on the same rows, by the same gate."""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from kfp_ratchet.components.shared.canonical import digest, dumps
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.log import last_line
from kfp_ratchet.pipelines.project import Project
from kfp_ratchet.pipelines.replay.child import call
from kfp_ratchet.pipelines.replay.naive import Choice
from kfp_ratchet.pipelines.replay.story import Retrain

_FOLDER = "comparisons"


class Question(BaseModel):
    """One model against another on one period's evaluation rows."""

    model_config = ConfigDict(frozen=True)

    rows: str
    """Folder of the period's model rows."""
    columns: str
    window: str
    policy: str
    model: str
    tracking_uri: str
    naive_version: str
    naive_digest: str
    live_version: str
    live_digest: str

    @property
    def answer(self) -> Path:
        """File for the decision, in the replay's folder: the same question has the same."""
        return Path(_FOLDER, f"{digest(self.model_dump_json()).partition(':')[2][:24]}.json")


def compare(project: Project, retrains: Sequence[Retrain], choices: Sequence[Choice]) -> dict[str, Decision]:
    """How the naive rule's model did on each period's rows beside the live one; only where the two differ.

    Both were live until the end of the period, so its evaluation rows are rows that they would have served.

    Returns:
        By period: a decision in which the candidate is the naive rule's model.

    Raises:
        RatchetError: A model could not be scored.
    """
    digests = {retrain.version: retrain.decision.candidate_digest for retrain in retrains if retrain.decision}
    asked = {
        retrain.period: question
        for retrain, choice in zip(retrains, choices, strict=True)
        if choice.live_before != retrain.live_before and (question := _question(project, retrain, choice, digests))
    }
    missing = [question for question in asked.values() if not (project.folder / question.answer).exists()]
    if missing:
        with tempfile.NamedTemporaryFile("w", suffix=".json", dir=project.folder) as file:
            json.dump([question.model_dump() for question in missing], file)
            file.flush()
            done = call(project, __name__, file.name)
        if done.returncode:
            told = last_line(done.stderr) or "it printed nothing"
            raise RatchetError(f"the naive rule's model could not be scored: {told}", "run the same command again")
    return {period: Decision.read(project.folder / question.answer) for period, question in asked.items()}


def _question(project: Project, retrain: Retrain, choice: Choice, digests: dict[str, str]) -> Question | None:
    decision, evaluated = retrain.decision, next(view for view in retrain.run.steps if view.step == "evaluate").record
    if decision is None or evaluated is None or not choice.live_before or not retrain.live_before:
        return None
    origin = evaluated.inputs["dataset"]
    made = sorted(project.home.glob(f"runs/*/artifacts/{origin.run}/{origin.step}/*/dataset.json"))
    if not made:
        return None
    return Question(
        rows=str(made[0].parent),
        columns=project.config.columns.model_dump_json(),
        window=dumps(retrain.run.details("pin")["window"]),
        policy=dumps(decision.policy),
        model=project.config.name,
        tracking_uri=project.tracking_uri,
        naive_version=choice.live_before,
        naive_digest=digests[choice.live_before],
        live_version=retrain.live_before,
        live_digest=digests[retrain.live_before],
    )


def _answer(question: Question) -> None:
    from kfp_ratchet.components.evaluate.scoring import evaluate_models
    from kfp_ratchet.components.gate.files import judge
    from kfp_ratchet.components.gate.policy import Policy
    from kfp_ratchet.components.shared.registry import fetch

    with tempfile.TemporaryDirectory() as scratch:
        naive = fetch(
            question.tracking_uri, question.model, question.naive_version, question.naive_digest, Path(scratch, "naive")
        )
        evidence = str(Path(scratch, "evidence"))
        evaluate_models(
            dataset_path=question.rows,
            dataset_uri=question.rows,
            model_path=str(naive),
            model_uri=str(naive),
            columns=question.columns,
            window=question.window,
            model_name=question.model,
            champion_version=question.live_version,
            champion_digest=question.live_digest,
            anchor_version="",
            anchor_digest="",
            tracking_uri=question.tracking_uri,
            store="",
            evidence_path=evidence,
            evidence_uri=evidence,
        )
        decision = judge(evidence, Policy.parse(question.policy))
    question.answer.parent.mkdir(exist_ok=True)
    made = question.answer.with_suffix(".part")
    decision.write(made)
    made.replace(question.answer)


if __name__ == "__main__":
    for one in json.loads(Path(sys.argv[1]).read_text()):
        _answer(Question.model_validate(one))
