"""Which rows train and which rows judge: the setting. `split` applies it; this module stays free of polars."""

import re
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field, field_validator

# Four digits: longer ones would reach beyond the years that a time can have.
LENGTH = r"^[1-9][0-9]{0,3}[hdw]$"
"""Pattern of a length of time; `split.length` reads it."""


class Window(BaseModel):
    """Train on what came before, evaluate on the last stretch; without a time column, split by a hash of the id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: str = Field(
        default="all",
        pattern=rf"^all$|{LENGTH}",
        description="How far back training rows go: all, or a length of up to four digits such as 90d, 12w or 36h.",
    )
    evaluate: str = Field(
        default="14d",
        pattern=LENGTH,
        description="Length, of up to four digits, of the evaluation window at the end of the data.",
    )
    share: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Without a time column: share of rows to evaluate on, by a hash of the id, or of the whole row.",
    )
    end: str = Field(
        default="",
        description="Rows after this ISO month, date or time are left out (a month or date counts whole); the data's own end "
        "when not given.",
    )

    @field_validator("end")
    @classmethod
    def _end_is_a_time(cls, end: str) -> str:
        if end:
            exclusive_end(end)
        return end


def exclusive_end(text: str) -> datetime:
    """The first moment, naive UTC, that is outside a window ending at an ISO month, date or time; a month or date counts whole.

    Raises:
        ValueError: `text` is none of them, or lies at the end of the calendar.
    """
    try:
        # Python reads more forms (20130630, 2013-W26), whose length in days their text does not tell.
        form = re.fullmatch(r"\d{4}-\d{2}(-\d{2})?([T ].+)?", text)
        if form is None or (form[2] and not form[1]):
            raise ValueError
        moment = datetime.fromisoformat(text if form[1] else f"{text}-01")
    except ValueError:
        raise ValueError(
            f"{text!r} is not an ISO month, date or time; write e.g. 2013-06, 2013-06-30 or 2013-06-30T12:00:00"
        ) from None
    try:
        if not form[1]:
            return (moment + timedelta(days=31)).replace(day=1)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        return moment + (timedelta(microseconds=1) if form[2] else timedelta(days=1))
    except OverflowError:
        raise ValueError(f"{text!r} is too far from today") from None
