"""What an entry of the ledger says."""

import json
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from kfp_ratchet.components.shared.canonical import digest, dumps, loads
from kfp_ratchet.components.shared.decision import Decision, Evaluation

_CHECKSUM = "checksum"
Kind = Literal[
    "promote",
    "reject",
    "inconclusive",
    "pending",
    "approve",
    "deny",
    "force",
    "rollback",
    "deploy-started",
    "deploy-failed",
]
"""`pending`: promoted by the gate, waits for a person; `force`: made champion by a person against the gate's verdict or without one."""

MAKES_CHAMPION: frozenset[Kind] = frozenset({"promote", "force", "rollback"})
REFUSED: frozenset[Kind] = frozenset({"reject", "inconclusive"})
JUDGED: frozenset[Kind] = REFUSED | {"promote", "pending"}
ANSWERS: frozenset[Kind] = frozenset({"approve", "deny"})


class Metric(BaseModel):
    """The judged metric in short; the decision has the rest."""

    model_config = ConfigDict(frozen=True)

    name: str = ""
    candidate: float | None = None
    champion: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    margin: float | None = None


class Draft(BaseModel):
    """An entry before it has a place in the ledger."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    version: str = Field(description="Version in the registry.")
    digest: str = Field(description="The model's digest.")
    epoch: int = Field(description="Champion epoch it was judged against; 0 for a first model.")
    run: str = Field(description="Who writes: the pipeline run, or the command.")
    reason: str = ""
    revision: str = ""
    rows: int = Field(default=0, description="Accepted rows of the revision.")
    decision_digest: str = ""
    evidence_digest: str = ""
    policy_digest: str = ""
    code: str = Field(default="", description="Digest of this package's source, which judged.")
    image: str = Field(default="", description="Container image of the package that judged.")
    evaluation: Evaluation = Evaluation()
    sets_anchor: bool = Field(
        default=True,
        description="For an entry that makes a champion: whether later non-inferiority is judged against it as well.",
    )
    metric: Metric = Metric()
    by: str = Field(default="", description="The person, where one decided.")
    intent: int = Field(
        default=0, description="Number of the deploy-started entry that this one ends or takes over; 0 for none."
    )
    answers: int = Field(default=0, description="Number of the pending entry that this one approves or denies.")

    @classmethod
    def of(cls, decided: Decision, decision_digest: str, kind: Kind, version: str, epoch: int, run: str) -> Self:
        """The entry that a decision makes."""
        return cls(
            kind=kind,
            version=version,
            digest=decided.candidate_digest,
            epoch=epoch,
            run=run,
            reason=decided.reason,
            revision=decided.revision,
            rows=decided.accepted_rows,
            decision_digest=decision_digest,
            evidence_digest=decided.evidence_digest,
            policy_digest=decided.policy_digest,
            evaluation=decided.evaluation,
            sets_anchor=decided.sets_anchor,
            metric=Metric(
                name=decided.metric,
                candidate=decided.candidate.value,
                champion=decided.champion.value,
                gain=decided.gain.value,
                gain_low=decided.gain.low,
                gain_high=decided.gain.high,
                margin=decided.margin,
            ),
        )

    def repeats(self, other: "Draft") -> bool:
        """Whether both say the same, whichever run says it: about one model, by one decision, against one champion."""
        mine, its = ((one.kind, one.version, one.digest, one.decision_digest, one.epoch) for one in (self, other))
        return mine == its


class Standing(BaseModel):
    """Where a ledger stands after an entry, so that the newest entry alone says who is champion."""

    model_config = ConfigDict(frozen=True)

    champion: int = Field(default=0, description="Number of the entry that made the champion; the champion epoch.")
    beneath: int = Field(default=0, description="Number of the entry that made the champion a rollback goes back to.")
    intent: int = Field(default=0, description="Number of the deploy-started entry that has not ended.")
    pending: tuple[int, ...] = Field(default=(), description="Pending entries that nobody has answered.")
    approved: tuple[int, ...] = Field(default=(), description="Approve entries whose version is not live yet.")


class Entry(Draft):
    """One line of a model's history."""

    number: int
    model: str
    time: str = Field(description="UTC, ISO 8601, by the clock of the writer; clocks may go backwards, numbers do not.")
    previous: str = Field(description="Digest of the bytes of the entry before; empty for the first.")
    standing: Standing | None = Field(default=None, description="None in entries of older versions.")

    @property
    def moment(self) -> datetime:
        """`time`, aware."""
        moment = datetime.fromisoformat(self.time)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    @property
    def why(self) -> str:
        """The reason; of one that waits without the word that it was promoted, which it is not yet."""
        return self.reason.removeprefix("Promoted: ") if self.kind == "pending" else self.reason

    @field_validator("time")
    @classmethod
    def _is_a_time(cls, time: str) -> str:
        datetime.fromisoformat(time)
        return time

    def written(self) -> bytes:
        """Its bytes in the ledger, with a checksum: the newest entry has no successor yet that would notice a change."""
        said = loads(self.model_dump_json())
        return json.dumps({**said, _CHECKSUM: digest(dumps(said))}, indent=1).encode()

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read an entry's bytes.

        Raises:
            ValueError: They are none, or were changed.
        """
        said: dict[str, Any] = loads(content)
        entry = cls.model_validate(said)
        checksum = said.pop(_CHECKSUM, None)
        # Entries of older versions have none, nor a standing.
        if (checksum or entry.standing) and checksum != digest(dumps(said)):
            raise ValueError("it was changed after it was written")
        return entry


class Champion(BaseModel):
    """The model that serves by right."""

    model_config = ConfigDict(frozen=True)

    version: str
    digest: str
    epoch: int = Field(description="Number of the entry that made it champion.")

    @classmethod
    def made_by(cls, entry: Entry) -> Self:
        """The champion that an entry made."""
        return cls(version=entry.version, digest=entry.digest, epoch=entry.number)
