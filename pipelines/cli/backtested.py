"""A backtest on the terminal and as JSON."""

from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kfp_ratchet.components.gate.wording import WORD
from kfp_ratchet.pipelines.backtest import Backtest, Live, Replayed
from kfp_ratchet.pipelines.cli.decided import COLOURS
from kfp_ratchet.pipelines.cli.serving import moment
from kfp_ratchet.pipelines.cli.terminal import Terminal, plain

_NARROW = 120
"""Columns below which a reason stands in a line of its own."""


def tell_backtest(console: Terminal, model: str, source: str, done: Backtest) -> None:
    """Line by line what was decided and what would be, and what it comes to."""
    if not done.replayed:
        console.say(f"the ledger of {model} has no decision to take again; ratchet run writes the first")
        return
    if not console.is_terminal:
        for one in done.replayed:
            told = f"{one.entry.number:>4}  {moment(one.entry.time)}  v{one.entry.version:<4}  {one.entry.kind:<13}  {_now(one):<13}"
            console.say(" ".join(f"{told}  {_live(one):<12}  {_why(one)}".splitlines()))
    elif console.width < _NARROW:
        for one in done.replayed:
            then = f"{one.entry.number}  {moment(one.entry.time)}  v{one.entry.version}  {one.entry.kind} → "
            console.tell(then, (_now(one), _colour(one)), f"  live {_live(one)}")
            console.print(Padding(plain(_why(one)), (0, 0, 0, 3)))
    else:
        console.print(_table(done))
    console.say()
    console.tell((f"{model} under the policy of {source}: ", "bold"), f"{done.headline}.")
    if any(one.now is not None and one.note for one in done.replayed):
        console.tell(("?  another champion would have been live than the evidence has: a guess", "dim"))


def summary(done: Backtest) -> dict[str, Any]:
    """All of it as plain values."""
    return {
        "policy": done.policy.model_dump(mode="json"),
        "headline": done.headline,
        "decisions": [
            {
                "entry": one.entry.number,
                "time": one.entry.time,
                "version": one.entry.version,
                "then": one.entry.kind,
                "now": one.now.verdict if one.now else None,
                "changed": one.changed,
                "live": one.was.version if one.was else None,
                "would_be_live": one.would_be.version if one.would_be else None,
                "guess": bool(one.now and one.note),
                "note": one.note,
                "reason_then": one.entry.reason,
                "reason_now": one.now.reason if one.now else "",
            }
            for one in done.replayed
        ],
    }


def _table(done: Backtest) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("#", justify="right")
    for column in ("UTC", "version", "then", "now", "live"):
        table.add_column(column, no_wrap=True)
    table.add_column("why", overflow="fold")
    for one in done.replayed:
        now = Text(_now(one), _colour(one))
        head = str(one.entry.number), moment(one.entry.time), f"v{one.entry.version}", one.entry.kind
        table.add_row(*head, now, _live(one), plain(_why(one)))
    return table


def _now(one: Replayed) -> str:
    if one.now is None:
        return "skipped" if one.skipped else "-"
    return one.now.verdict + ("?" if one.note else "")


def _live(one: Replayed) -> str:
    """Who would be live after it, and who was where that is another."""
    would_be, was = _version(one.would_be), _version(one.was)
    return would_be if would_be == was else f"{would_be}, was {was}"


def _version(live: Live | None) -> str:
    return f"v{live.version}" if live else "none"


def _why(one: Replayed) -> str:
    reason = one.now.reason.removeprefix(f"{WORD[one.now.verdict]}: ") if one.now else one.entry.reason
    return f"{one.note}. {reason}" if one.note else reason


def _colour(one: Replayed) -> str:
    colour = COLOURS.get(one.now.verdict, "dim") if one.now else "dim"
    return f"bold {colour}" if one.changed else colour
