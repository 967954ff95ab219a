"""What each column of the model's rows is for."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Problem = Literal["binary", "multiclass", "regression"]


class Columns(BaseModel):
    """Roles of columns. Every column that has no role here is a feature."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str = Field(default="", description="The column to predict.")
    problem: Problem = Field(default="binary", description="What kind of value the target is.")
    positive: str | int | bool | None = Field(
        default=None,
        description="Binary only: the target value that counts as positive; the larger of the two when not given.",
    )
    id: str = Field(
        default="", description="Identifies a row; evidence is paired and read in the order of this column."
    )
    time: str = Field(
        default="", description="When the row happened (Date, Datetime or ISO text); windows are cut by it."
    )
    slices: tuple[str, ...] = Field(default=(), description="Columns whose values are judged one by one.")
    weight: str = Field(default="", description="Weight of a row in training and judging; all 1 when not given.")
    cluster: str = Field(
        default="",
        description="Rows of one value of this column (a customer; of a date or time its day) are not independent of each other, and "
        "count together when the gate says how sure it is. It may have another role too.",
    )
    ignore: tuple[str, ...] = Field(default=(), description="Columns that are neither features nor roles.")

    @model_validator(mode="after")
    def _one_role_each(self) -> Self:
        roles = [name for name in (self.target, self.id, self.time, self.weight, *self.ignore) if name]
        twice = sorted({name for name in roles if roles.count(name) > 1})
        if twice:
            raise ValueError(f"column {twice[0]!r} has two roles; give each column one")
        if judged := next((name for name in self.slices if name in (self.target, self.id)), ""):
            raise ValueError(
                f"slices names {judged!r}, the target or id, whose values are no groups to judge; leave it out"
            )
        if self.cluster and self.cluster in (self.target, self.id):
            raise ValueError(
                f"cluster names {self.cluster!r}, the target or id, whose values group no rows; leave it out"
            )
        if self.positive is not None and self.problem != "binary":
            raise ValueError(f"positive is of binary problems, and problem is {self.problem}; leave it out")
        return self

    def features(self, columns: list[str]) -> list[str]:
        """The feature columns among `columns`, in their order."""
        roles = {self.target, self.id, self.time, self.weight, *self.ignore}
        return [name for name in columns if name not in roles]
