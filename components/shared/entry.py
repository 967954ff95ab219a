"""What an entry of the ledger says."""

import json
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from kfp_ratchet.components.shared.canonical import digest, dumps, loads
from kfp_ratchet.components.shared.decision import Decision

_CHECKSUM = "checksum"
Kind = Literal["promote", "reject", "inconclusive", "rollback", "deploy-started", "deploy-failed"]


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
    metric: Metric = Metric()
    by: str = Field(default="", description="The person, where one decided.")
    intent: int = Field(
        default=0, description="Number of the deploy-started entry that this one ends or takes over; 0 for none."
    )

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


class Entry(Draft):
    """One line of a model's history."""

    number: int
    model: str
    time: str = Field(description="UTC, ISO 8601.")
    previous: str = Field(description="Digest of the bytes of the entry before; empty for the first.")

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
        # Entries of older versions have none.
        checksum = said.pop(_CHECKSUM, None)
        if checksum is not None and checksum != digest(dumps(said)):
            raise ValueError("it was changed after it was written")
        return entry


class Champion(BaseModel):
    """The model that serves by right."""

    model_config = ConfigDict(frozen=True)

    version: str
    digest: str
    epoch: int = Field(description="Number of the entry that made it champion.")
