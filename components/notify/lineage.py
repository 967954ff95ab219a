"""What a run rests on: data, code, models, and the digests that name them."""

import json
from contextlib import suppress
from typing import Any

from kfp_ratchet.components.notify import wording
from kfp_ratchet.components.notify.details import mapping, numbers
from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.shared.charts import number, short_name

_MOST_TABLES = 12
_LONGEST = 600


def lineage(run: RunView) -> list[tuple[str, str, str]]:
    """(name, value, kind) in the order of the pipeline; what no step told is left out."""
    pin, ingest, prepare, train = (run.details(step) for step in ("pin", "ingest", "prepare", "train"))
    evaluate, register, decision = run.details("evaluate"), run.details("register"), run.decision
    card = mapping(register.get("card"))
    facts = [
        ("Run", run.run, "digest"),
        ("Revision of the data", pin.get("revision") or ingest.get("revision") or card.get("revision"), "digest"),
        ("Source", _text(pin.get("source")), ""),
        ("At", _text(pin.get("origins")), ""),
        ("Window", _text(pin.get("window")), ""),
        ("Split", evaluate.get("split_rule") or card.get("split_rule"), ""),
        ("Rows read", ", ".join(_tables_read(ingest)), ""),
        ("Rows made by", mapping(prepare.get("recipe")).get("name"), ""),
        ("Rows accepted", decision.accepted_rows if decision else None, ""),
        ("Model rows", prepare.get("rows"), ""),
        ("Rows trained on", train.get("rows") or card.get("rows"), ""),
        ("Rows judged on", (decision.rows if decision else None) or evaluate.get("rows"), ""),
        ("Workload", card.get("workload") or run.details("tune").get("workload"), ""),
        ("Seed", card.get("seed"), ""),
        ("Device", card.get("device") or train.get("device"), ""),
        ("Code", _text(card.get("code")), ""),
        *(
            (f"{name[:1].upper()}{name[1:]}", value, "digest" if str(value).startswith("sha256:") else "")
            for name, value in mapping(register.get("lineage")).items()
        ),
        ("Candidate", (decision.candidate_digest if decision else "") or train.get("digest"), "digest"),
        ("Champion", decision.champion_digest if decision else "", "digest"),
        ("Evidence", decision.evidence_digest if decision else "", "digest"),
        ("Policy", decision.policy_digest if decision else "", "digest"),
        ("Ledger entry", run.details("deploy").get("entry") or register.get("entry"), ""),
    ]
    return [
        (name, number(value) if isinstance(value, int) else wording.shortened(value, _LONGEST), kind)
        for name, value, kind in facts
        if value not in (None, "")
    ]


def _tables_read(ingest: dict[str, Any]) -> list[str]:
    tables = {name: numbers(shape) for name, shape in mapping(ingest.get("tables")).items()}
    read = [f"{short_name(name)} {shape['rows']:,.0f}" for name, shape in tables.items() if "rows" in shape]
    return read[:_MOST_TABLES] + ([f"and {len(read) - _MOST_TABLES} more tables"] if len(read) > _MOST_TABLES else [])


def _text(value: Any) -> str:
    """Nested settings, also as JSON text, in one line: `train all, evaluate 14d`."""
    if isinstance(value, str) and value.startswith("{"):
        with suppress(ValueError):
            value = json.loads(value)
    found = mapping(value)
    return (
        ", ".join(f"{key} {item}" for key, item in found.items() if item not in (None, ""))
        if found
        else str(value or "")
    )
