"""What to do with rows that fail: the section `checks:` of ratchet.yaml. Imports nothing heavy."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Checks(BaseModel):
    """What to do with rows that fail, and what must hold across rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on_failure: Literal["block", "quarantine"] = Field(
        default="block",
        description="Rows that fail: block the run, or quarantine them (left out, counted, reported).",
    )
    max_quarantine_share: float = Field(
        default=0.01, ge=0, lt=1, description="Largest share of a table's rows that may be quarantined; more blocks."
    )
    examples: int = Field(default=5, ge=1, le=100, description="Rows to show for each failure.")
    unique: tuple[str, ...] | None = Field(
        default=None,
        description="Columns of the main table that together identify a row; columns.id when not given, [] for none.",
    )
    max_age: str | None = Field(
        default=None,
        pattern=r"^[1-9][0-9]{0,3}[hdw]$",
        description="How old the newest row may be at the window's end, e.g. 2d or 36h; needs as_of or window.end.",
    )
    rows_ratio: tuple[float, float] | None = Field(
        default=None,
        description="Least and most rows, as multiples of the last accepted revision's, e.g. [0.5, 2.0].",
    )
    leakage: float | None = Field(
        default=0.999,
        gt=0.5,
        le=1,
        description="Most that one feature alone may tell of the target (AUC, or |Spearman| for regression), judged on two "
        "million rows at most; null for any.",
    )

    @model_validator(mode="after")
    def _share_is_of_quarantine(self) -> Self:
        if "max_quarantine_share" in self.model_fields_set and self.on_failure == "block":
            raise ValueError("max_quarantine_share does nothing while on_failure is block; set it to quarantine")
        return self

    @model_validator(mode="after")
    def _ratio_is_a_range(self) -> Self:
        if self.rows_ratio and not 0 <= self.rows_ratio[0] <= self.rows_ratio[1]:
            raise ValueError(f"rows_ratio {list(self.rows_ratio)} is not [least, most]")
        return self
