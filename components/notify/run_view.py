"""What happened in a run, put together from the journal alone: read by the report, the messages and the `ratchet` command."""

from collections import deque
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from kfp_ratchet.components.notify.cluster import PodTrouble
from kfp_ratchet.components.notify.notifications import Outcome
from kfp_ratchet.components.shared.attempts import near_limit, out_of_memory
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.errors import BlockedError, InconclusiveError, InputError, RatchetError
from kfp_ratchet.components.shared.forced import forced, warning
from kfp_ratchet.components.shared.journal import Failure, Origin, Record, read_record, read_run
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store

STEPS = ("pin", "ingest", "validate", "prepare", "tune", "train", "evaluate", "gate", "register", "deploy")
"""Steps of continuous training in order; `prepare` is left out of a pipeline that has no recipe."""

APPROVE = ("approve",)
"""Steps of the pipeline of that name."""

NOTIFY = "notify"

StepState = Literal["succeeded", "failed", "running", "cached", "not needed", "not reached"]

_VERDICTS: Mapping[str, Outcome] = {"reject": "rejected", "inconclusive": "inconclusive"}
_APPROVALS: Mapping[str, Outcome] = {"pending": "pending", "denied": "rejected"}
_FAILURES: Mapping[str, Outcome] = {
    BlockedError.kind: "blocked",
    InconclusiveError.kind: "inconclusive",
    "interrupted": "interrupted",
    "preempted": "interrupted",
}
_EXIT_CODES: Mapping[Outcome, int] = {
    "promoted": 0,
    "pending": 0,
    "unchanged": 0,
    "rejected": 0,
    "inconclusive": InconclusiveError.exit_code,
    "blocked": BlockedError.exit_code,
    "failed": RatchetError.exit_code,
    "interrupted": RatchetError.exit_code,
}
INTERRUPTED = 130
"""Exit code of a command that was told to end: 128 and the number of SIGINT, as shells have it."""


class StepView(BaseModel):
    """One step as this run saw it."""

    model_config = ConfigDict(frozen=True)

    step: str
    state: StepState
    run: str = Field(default="", description="The run that made its outputs; empty when that is not known.")
    record: Record | None = None


class RunView(BaseModel):
    """A run's steps in pipeline order, and what they amount to."""

    model_config = ConfigDict(frozen=True)

    run: str
    model_name: str = ""
    steps: tuple[StepView, ...] = ()
    hint: str = Field(
        default="", description="Why a step may have left no reason, where the runner can tell: its disk is full."
    )
    interrupted: bool = Field(
        default=False, description="Whether the command that ran it was told to end, which the journal cannot know."
    )
    pods: dict[str, PodTrouble] = Field(
        default={}, description="By step, what the cluster said of its pods, where `notify` could ask it."
    )
    forced: str = Field(default="", description="Who forced the champion live and why; empty when nobody did.")

    @classmethod
    def read(cls, store: Store, run: str, model_name: str = "", *, interrupted: bool = False) -> Self:
        """Put a run together from its records and, where a step came from the cache, from those of the run that made it."""
        own = read_run(store, run)
        told = own.pop(NOTIFY, None)
        made = {**_lineage(store, run, own), **own}
        steps = APPROVE if set(APPROVE) & set(own) else STEPS
        others = tuple(step for step in own if step not in steps)
        last = max((steps.index(step) for step in own if step in steps), default=-1)
        promoted = _decision(own, made)
        views = []
        for step in (*steps, *others):
            record = made.get(step)
            if record is not None:
                state: StepState = record.state if record.run == run else "cached"
            elif step == "prepare":
                continue
            elif step in steps and steps.index(step) < last:
                state = "cached"
            elif step == "deploy" and promoted is not None and promoted.verdict != "promote":
                state = "not needed"
            else:
                state = "not reached"
            views.append(StepView(step=step, state=state, run=record.run if record else "", record=record))
        return cls(
            run=run,
            model_name=model_name,
            steps=tuple(views),
            interrupted=interrupted,
            pods=_pods(told),
            forced=_forced(store, model_name),
        )

    def details(self, step: str) -> dict[str, Any]:
        """What a step found, whichever run made it; empty when it left nothing."""
        view = self._by_step.get(step)
        return view.record.details if view is not None and view.record is not None else {}

    @cached_property
    def _by_step(self) -> dict[str, StepView]:
        return {view.step: view for view in self.steps}

    @cached_property
    def decision(self) -> Decision | None:
        """The gate's decision, None when it was not reached."""
        records = {view.step: view.record for view in self.steps if view.record is not None}
        return _decision({step: record for step, record in records.items() if record.run == self.run}, records)

    @cached_property
    def stopped(self) -> StepView | None:
        """The step at which the run failed or stopped, None when it went all the way."""
        for state in ("failed", "running", "not reached"):
            for view in self.steps:
                if view.state == state:
                    return view
        return None

    @cached_property
    def failure(self) -> Failure | None:
        """Why the run failed or stopped; None when it went all the way."""
        view = self.stopped
        if view is None:
            return None
        if view.record is not None and view.record.error is not None:
            return view.record.error
        seen = f"; it was last seen at: {view.record.line}" if view.record and view.record.line else ""
        if self.interrupted:
            return Failure(
                kind="interrupted",
                message=f"{view.step} {'had not ended' if view.state == 'running' else 'had not begun'}{seen}",
                remedy="start it again: finished steps come from the cache",
            )
        if trouble := self.pods.get(view.step):
            how = "did not begin" if view.state == "not reached" else "began and never ended"
            return Failure(
                kind="interrupted" if trouble.lost else RatchetError.kind,
                message=f"{view.step} {how}: {trouble.sentence}{seen}",
                remedy=trouble.remedy,
            )
        if view.record is not None and near_limit(view.record.memory_mb, view.record.memory_limit_mb):
            message, remedy = out_of_memory(view.step, view.record.memory_limit_mb or 0.0)
            return Failure(kind=RatchetError.kind, message=f"{message}{seen}", remedy=remedy)
        if view.state == "running":
            return Failure(
                kind="interrupted",
                message=f"{view.step} began and never ended{seen}",
                remedy=self.hint
                or "it was stopped, evicted or out of memory; start the run again, finished steps come from the cache",
            )
        return Failure(
            kind="failed",
            message=f"{view.step} was not reached",
            remedy=self.hint
            or f"the run ended before {view.step} left a record; look at its log or pod, then start the run again",
        )

    @cached_property
    def outcome(self) -> Outcome:
        """The run in one word."""
        view, failure = self.stopped, self.failure
        if view is not None and failure is not None:
            return _FAILURES.get(failure.kind, "failed")
        deployed = self.deployed
        if deployed.get("approval") in _APPROVALS:
            return _APPROVALS[deployed["approval"]]
        if "approve" in self._by_step:
            return "promoted" if deployed.get("url") else "unchanged"
        return _VERDICTS.get(self.decision.verdict, "promoted") if self.decision is not None else "failed"

    @property
    def deployed(self) -> dict[str, Any]:
        """What the step that puts a version live found."""
        return self.details("approve") or self.details("deploy")

    @property
    def reason(self) -> str:
        """Why it ended so: one sentence."""
        if self.failure is not None and self.stopped is not None:
            named = self.failure.message.startswith(self.stopped.step)
            return self.failure.message if named else f"{self.stopped.step}: {self.failure.message}"
        line = next((one.record.line for one in self.steps if one.step in ("approve", "deploy") and one.record), "")
        judged = self.decision.reason if self.decision is not None else ""
        if "approve" in self._by_step:
            return line
        if self.deployed.get("approval") in _APPROVALS:
            return f"{line}; {judged.removeprefix('Promoted: ')}"
        return judged or "no step left a decision"

    @property
    def sentence(self) -> str:
        """The reason without the outcome in front, for where the outcome stands above it."""
        head, _, rest = self.reason.partition(": ")
        return rest if rest and head.lower() == self.outcome else self.reason

    @property
    def remedy(self) -> str:
        """What the reader can do about it; empty when there is nothing to do."""
        return self.failure.remedy if self.failure is not None else str(self.deployed.get("remedy", ""))

    @property
    def exit_code(self) -> int:
        """What the `ratchet` command ends with.

        0 promoted, pending, unchanged or rejected, 2 bad input, 3 failed, 4 inconclusive, 5 blocked, 130 interrupted.
        """
        if self.interrupted:
            return INTERRUPTED
        if self.outcome == "failed" and self.failure is not None and self.failure.kind == InputError.kind:
            return InputError.exit_code
        return _EXIT_CODES[self.outcome]


def _pods(told: Record | None) -> dict[str, PodTrouble]:
    """What `notify` was told by the cluster."""
    try:
        return TypeAdapter(dict[str, PodTrouble]).validate_python(told.details.get("pods", {}) if told else {})
    except ValidationError:
        return {}


def _forced(store: Store, model_name: str) -> str:
    """What is to be said of a champion that was forced live. A ledger that cannot be read is told elsewhere."""
    try:
        entry = forced(Ledger(store, model_name)) if model_name else None
    except RatchetError:
        return ""
    return warning(entry) if entry is not None else ""


def _lineage(store: Store, run: str, own: Mapping[str, Record]) -> dict[str, Record]:
    """Records of other runs that made what this run used, found by following input artifacts backwards."""
    made: dict[str, Record] = {}
    seen: set[Origin] = set()
    waiting = deque(origin for record in own.values() for origin in record.inputs.values())
    while waiting:
        origin = waiting.popleft()
        if origin.run == run or origin in seen:
            continue
        seen.add(origin)
        record = _kept(store, origin)
        if record is not None and record.state == "succeeded":
            made.setdefault(record.step, record)
            waiting.extend(record.inputs.values())
    tuned = _tuning(store, made, own)
    return {**made, "tune": tuned} if tuned is not None else made


def _kept(store: Store, origin: Origin) -> Record | None:
    """An earlier run's record. A damaged one says so in its step's place: a report without that step's details is better than none."""
    try:
        return read_record(store, origin)
    except RatchetError as error:
        return Record(run=origin.run, step=origin.step, state="succeeded", line=error.message)


def _tuning(store: Store, made: Mapping[str, Record], own: Mapping[str, Record]) -> Record | None:
    """The tuning behind a fit. It hands over a parameter, not an artifact, so it is known by the parameters that it found."""
    fit = own.get("train") or made.get("train")
    if fit is None or "tune" in own:
        return None
    for run in dict.fromkeys((fit.run, *(record.run for record in made.values()))):
        record = _kept(store, Origin(run=run, step="tune"))
        if record is not None and record.state == "succeeded":
            found = record.details.get("best")
            if run == fit.run or (found is not None and found == fit.details.get("parameters")):
                return record
    return None


def _decision(own: Mapping[str, Record], made: Mapping[str, Record]) -> Decision | None:
    for record in (own.get("register"), own.get("gate"), made.get("gate")):
        if record is not None and record.details.get("decision"):
            try:
                return Decision.model_validate(record.details["decision"])
            except ValidationError:
                continue
    return None
