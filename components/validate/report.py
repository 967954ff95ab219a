"""The validation report, to look at."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined

from kfp_ratchet.components.shared.charts import short_name
from kfp_ratchet.components.shared.page import page, templates

_MOST_COLUMNS, _MOST_FAILURES, _MOST_EXAMPLES = 24, 100, 20


def render(details: Mapping[str, Any], blocked: str, line: str) -> str:
    """One HTML page of what validation found.

    Args:
        details: What the journal keeps: tables, failures, checks, policy.
        blocked: Why the data may not pass, "" when it may.
        line: What was accepted, in one line.
    """
    environment = templates(Path(__file__).parent, short_name=short_name)
    environment.undefined = StrictUndefined
    body = environment.get_template("report.html.j2").render(
        **details,
        blocked=blocked,
        line=line,
        most_columns=_MOST_COLUMNS,
        most_failures=_MOST_FAILURES,
        most_examples=_MOST_EXAMPLES,
    )
    return page("Validation", body)
