"""The Decision contract: what the gate says, read by register, deploy, the report and the command line."""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from kfp_ratchet.components.shared.canonical import dumps
from kfp_ratchet.components.shared.errors import RatchetError

Verdict = Literal["promote", "reject", "inconclusive"]
Question = Literal["superiority", "non_inferiority"]
Outcome = Literal["pass", "fail", "unknown"]


class Interval(BaseModel):
    """An estimate with its confidence interval."""

    model_config = ConfigDict(frozen=True)

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Check(BaseModel):
    """One question the gate asked, and its answer."""

    model_config = ConfigDict(frozen=True)

    name: str
    outcome: Outcome
    reason: str = Field(description="In plain English, with the numbers.")
    observed: Interval = Interval()
    bound: float | None = Field(default=None, description="What `observed` is held against, in the metric's unit.")


class Evaluation(BaseModel):
    """Which rows a candidate was judged on."""

    model_config = ConfigDict(frozen=True)

    digest: str = Field(default="", description="Digest of their ids, labels and weights, whatever the models scored.")
    start: str = Field(default="", description="Time of the first row, ISO 8601; empty without a time column.")
    end: str = Field(default="", description="Time of the last row.")
    looks: int = Field(default=0, description="How often these rows were judged on before, by this ledger.")


class Decision(BaseModel):
    """Verdict, reason, checks, and digests of all inputs. Same inputs, same bytes."""

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    reason: str = Field(description="One sentence.")
    unchanged: bool = Field(default=False, description="The candidate is the champion: same model digest.")
    checks: tuple[Check, ...] = ()
    metric: str = ""
    candidate: Interval = Field(default=Interval(), description="The candidate's metric.")
    champion: Interval = Field(
        default=Interval(), description="The champion's metric; the trivial baseline's for a first model."
    )
    gain: Interval = Field(
        default=Interval(),
        description="Paired gain of candidate over champion; positive is better, whatever the metric.",
    )
    question: Question = Field(default="superiority", description="What had to be shown of the gain.")
    margin: float = Field(
        default=0.0, description="Superiority: the gain must lie above it. Non-inferiority: the loss must lie below it."
    )
    anchor_version: str = Field(
        default="", description="The last champion shown to be better, where that is not the champion itself."
    )
    anchor_digest: str = ""
    anchor_gain: Interval = Field(default=Interval(), description="Paired gain of candidate over anchor.")
    sets_anchor: bool = Field(
        default=True,
        description="Shown to be better than champion and anchor alike: later non-inferiority is judged against it.",
    )
    churn: Interval = Field(default=Interval(), description="Share of answers in which candidate and champion differ.")
    method: str = Field(default="", description="How the intervals were found, in words.")
    detectable: float | None = Field(
        default=None, description="The smallest true gain that rows like these would promote with 80 % probability."
    )
    evaluation: Evaluation = Evaluation()
    sampled_from: int = Field(
        default=0, description="Rows of the evidence that were sampled from; 0 when all were judged on."
    )
    confidence: float = 0.95
    rows: int = Field(default=0, description="Rows judged on.")
    accepted_rows: int = Field(default=0, description="Rows of the main table that validation accepted.")
    candidate_digest: str = ""
    champion_version: str = Field(default="", description="Empty for a first model.")
    champion_digest: str = ""
    revision: str = ""
    evidence_digest: str = ""
    policy_digest: str = ""
    policy: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a decision file.

        Raises:
            RatchetError: The file is not a decision.
        """
        try:
            return cls.model_validate(json.loads(Path(path).read_text()))
        except (OSError, ValueError) as error:
            raise RatchetError(f"{path} is not a decision: {error}", "pass the output `decision` of gate") from error

    def write(self, path: str | Path) -> None:
        """Write the decision as canonical JSON: the same decision, the same bytes."""
        Path(path).write_text(dumps(self.model_dump(mode="json")) + "\n")
