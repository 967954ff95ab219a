"""`ratchet gate`: why a decision was taken, and taking it again."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfp_ratchet.pipelines.cli.commands import Command, Group
from kfp_ratchet.pipelines.cli.serving import CONFIG, ConfigOption, JsonOption, moment
from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    from kfp_ratchet.components.gate.policy import Policy
    from kfp_ratchet.components.shared.decision import Decision
    from kfp_ratchet.components.shared.entry import Entry

INCONCLUSIVE = 4
_EPILOG = (
    "Policies: a JSON object, a YAML or JSON file with the keys of the section policy:, or a whole ratchet.yaml. "
    "What is left out has its default."
)
app = typer.Typer(cls=Group, no_args_is_help=True, help="Why a decision was taken, and taking it again.")
ModelOption = Annotated[
    str, typer.Option("--model", metavar="MODEL", help="The model; the project's own when not given.")
]


@app.command(cls=Command)
def explain(
    which: Annotated[
        str,
        typer.Argument(
            metavar="RUN|ENTRY|VERSION",
            help="A run's id, the number of a ledger entry as in `ratchet model history`, a version as v5, or last.",
        ),
    ],
    model: ModelOption = "",
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Print a decision: every check with what was observed, its interval and its bound, and the same in words.

    Example: ratchet gate explain v5
    """
    from kfp_ratchet.pipelines.cli.decided import tell_decision
    from kfp_ratchet.pipelines.judgements import find_judgement
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    name = project.model(model)
    found = find_judgement(project.store, name, which)
    if as_json:
        facts = {
            "model": name,
            "run": found.run,
            "entry": found.entry.model_dump(mode="json") if found.entry else None,
            "asked": found.asked.model_dump(mode="json") if found.asked else None,
            "decision": found.decision.model_dump(mode="json"),
        }
        typer.echo(json.dumps(facts, indent=1))
        return
    console = Terminal()
    if found.asked:
        console.tell((f"{name}: {_about(found.asked)}", "bold"), "  ", found.asked.reason)
        console.tell((f"v{found.asked.version} was judged before:", "dim"))
    about = _about(found.entry) if found.entry else "no entry in the ledger"
    console.tell((f"{name}: {about}", "bold"), (f"  run {found.run}", "dim"))
    # How often the rows judged before is known only to the ledger.
    looks = found.entry.evaluation.looks if found.entry else 0
    told = f"{looks} other candidate{'s were' if looks > 1 else ' was'} judged on these rows before: luck adds up; use fresh rows"
    tell_decision(console, found.decision, [("Looks", told)] if looks else [])
    if found.entry and found.decision.evidence_digest:
        console.tell((f"take it again: ratchet gate decide --entry {found.entry.number}", "dim"))


@app.command(cls=Command, epilog=_EPILOG)
def decide(
    evidence: Annotated[
        str, typer.Option("--evidence", metavar="FOLDER", help="What evaluate wrote; needs no project around it.")
    ] = "",
    entry: Annotated[
        str,
        typer.Option(
            "--entry",
            metavar="ENTRY",
            help="Take the evidence and the policy of this ledger entry, and compare; also v5, a run's id, or last.",
        ),
    ] = "",
    policy: Annotated[
        str,
        typer.Option(
            "--policy", metavar="FILE|JSON", help="What to ask; the entry's, else the project's, when not given."
        ),
    ] = "",
    model: ModelOption = "",
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take a decision again, offline; changes nothing. Exits with 4 when it is inconclusive.

    Example: ratchet gate decide --entry 12 --policy '{"margin": 0.005}'
    """
    from tempfile import TemporaryDirectory

    from kfp_ratchet.components.gate import judge
    from kfp_ratchet.components.shared.archive import fetch_evidence
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.pipelines.cli.decided import tell_decision
    from kfp_ratchet.pipelines.judgements import differences, find_judgement
    from kfp_ratchet.pipelines.project import Project

    if not evidence and not entry:
        raise InputError("there is no evidence to decide on", "give --evidence FOLDER or --entry 12")
    if evidence and not Path(evidence, "evidence.json").is_file():
        raise InputError(
            f"{evidence} is no folder of evidence: it has no evidence.json", "name the output `evidence` of evaluate"
        )
    needed = entry or config != CONFIG or (not policy and config.exists())
    project = Project.open(config) if needed else None
    _reach_modules_of(project.folder if project else Path.cwd())
    then, meant = None, ""
    with TemporaryDirectory() as scratch:
        folder = Path(evidence)
        if project and entry:
            found = find_judgement(project.store, project.model(model), entry)
            then, meant = found.decision, f"entry {found.entry.number}" if found.entry else f"run {found.run}"
            if not evidence:
                folder = fetch_evidence(project.store, then.evidence_digest, Path(scratch, "evidence"))
        asked, source = _asked(policy, then, project.config.policy if project else None)
        now = judge(folder, asked)
    changes = differences(then, now) if then else []
    if as_json:
        told = {
            "decision": now.model_dump(mode="json"),
            "policy_from": source,
            "compared_with": meant or None,
            "differs": [{"what": one.what, "then": one.then, "now": one.now} for one in changes] if then else None,
        }
        typer.echo(json.dumps(told, indent=1))
    else:
        console = Terminal()
        tell_decision(console, now, [("Policy of", source)])
        if then and not changes:
            console.tell((f"the same as {meant}, to the last digit", "green"))
        elif then:
            console.tell((f"differs from {meant}:", "bold"))
            # Both reasons are in --json; the new one stands above.
            for one in (one for one in changes if one.what != "reason"):
                console.tell(f"  {one.what}: {one.then} → {one.now}")
    raise typer.Exit(INCONCLUSIVE if now.verdict == "inconclusive" else 0)


@app.command(cls=Command, epilog=_EPILOG)
def backtest(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model; the project's own when not given.")] = "",
    policy: Annotated[
        str, typer.Option("--policy", metavar="FILE|JSON", help="The other policy; the project's when not given.")
    ] = "",
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take all past decisions again under another policy, and print what would have been live; changes nothing.

    Evidence shows a candidate beside the champion of its day. Where another one would have been live, the line says so: that verdict is a
    guess.

    Example: ratchet gate backtest flights --policy '{"preset": "fresh"}'
    """
    from kfp_ratchet.components.shared.ledger import Ledger
    from kfp_ratchet.pipelines.backtest import backtest as take_again
    from kfp_ratchet.pipelines.cli.backtested import summary, tell_backtest
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    _reach_modules_of(project.folder)
    name = project.model(model)
    asked, source = _asked(policy, None, project.config.policy)
    console = Terminal(quiet=as_json)
    if console.is_terminal and not as_json:
        with console.status("reading the ledger") as status:
            done = take_again(Ledger(project.store, name), project.store, asked, lambda line: status.update(line))
    else:
        done = take_again(Ledger(project.store, name), project.store, asked)
    if as_json:
        typer.echo(json.dumps({"model": name, "policy_from": source, **summary(done)}, indent=1))
        return
    tell_backtest(console, name, source, done)


def _asked(given: str, then: "Decision | None", own: "Policy | None") -> "tuple[Policy, str]":
    """The policy that is meant, and where it comes from."""
    from kfp_ratchet.components.gate.policy import Policy
    from kfp_ratchet.components.shared.canonical import dumps
    from kfp_ratchet.pipelines.policies import read_policy

    if given:
        return read_policy(given), "the command line"
    if then is not None:
        return Policy.parse(dumps(then.policy)), "the entry"
    return (own, "the project") if own is not None else (Policy(), "the defaults")


def _about(entry: "Entry") -> str:
    by = f" by {entry.by}" if entry.by else ""
    return f"entry {entry.number}, {entry.kind} of v{entry.version}{by}, {moment(entry.time)} UTC"


def _reach_modules_of(folder: Path) -> None:
    """A metric may be a function of the project's own modules."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
