"""Attempts of a step that ended before the last one: preempted, out of memory, killed, or failed and tried again."""

from pydantic import BaseModel, ConfigDict, Field

_NEAR = 0.8
"""Share of the memory limit from which a death without a last word is put down to it: memory is looked at twice a second."""


class Attempt(BaseModel):
    """An earlier try of a step in the same run."""

    model_config = ConfigDict(frozen=True)

    started: str
    seconds: float = Field(description="From its start to the last sign of life.")
    line: str = Field(description="What it said last: why it failed, or what it was doing when it died.")
    failure: str = Field(
        default="", description="Kind of its failure; empty when it died without a last word: preempted, or killed."
    )
    memory_mb: float | None = None
    memory_limit_mb: float | None = None

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.failure:
            return "was preempted" if self.failure == "preempted" else f"failed ({self.line})"
        if near_limit(self.memory_mb, self.memory_limit_mb):
            return f"probably ran out of memory (limit {self.memory_limit_mb:,.0f} MiB)"
        return "was preempted or killed"


def near_limit(memory_mb: float | None, limit_mb: float | None) -> bool:
    """Whether a step that died holding so much memory probably died of it."""
    return memory_mb is not None and limit_mb is not None and memory_mb >= _NEAR * limit_mb


def out_of_memory(step: str, limit_mb: float) -> tuple[str, str]:
    """Message and remedy for a step that died near its memory limit."""
    return (
        f"{step} probably ran out of memory: its limit is {limit_mb:,.0f} MiB",
        f"raise kubernetes.steps.{step}.memory_limit in ratchet.yaml, or let it use less: a lower batch_size, a shorter window",
    )


def told(attempts: tuple[Attempt, ...]) -> str:
    """One sentence about earlier attempts; "" when there were none."""
    if not attempts:
        return ""
    last = attempts[-1]
    number = "the first attempt" if len(attempts) == 1 else f"attempt {len(attempts)}"
    at = f" after {last.seconds:,.0f} s" + (f" at: {last.line}" if last.line and not last.failure else "")
    return f"{number} {last.ending}{at}; went on in attempt {len(attempts) + 1}"
