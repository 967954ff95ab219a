"""`ratchet model trace`: from a version back to the objects it was made of, and from an object to the models that saw it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfp_ratchet.pipelines.cli.serving import CONFIG, ConfigOption, JsonOption, moment
from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    from kfp_ratchet.components.shared.lineage import Lineage, MadeBy
    from kfp_ratchet.pipelines.project import Project
    from kfp_ratchet.pipelines.sightings import Listed, Sighting
    from kfp_ratchet.pipelines.tracing import Reign, Trace

_FIRST = 3
"""Files of a table that are shown without `--files`."""
_LABEL = 10
_NOT_TOLD = "not told"
_LISTED = "Listed is not the same as trained on: the window may have left rows of that object out, and validation or prepare may have."

Line = tuple[str, str]
"""A label and what is said; lines of one subject share the first one's label."""


def trace(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="The model and which version of it: flights, flights@champion, @previous, @challenger, flights@3 or 3; the project's "
            "own champion when not given.",
        ),
    ] = "",
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="OBJECT",
            help="Ask the other way round: which versions were made from data with this object? A path within the source, a whole URI, "
            "an ETag, version id or digest, or a revision; of all models when none is named.",
        ),
    ] = None,
    files: Annotated[bool, typer.Option("--files", help="Print every file of the data, not the first few.")] = False,
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Print what a version was made of, back to the objects of its data; or which versions have seen an object.

    Exits with 1 when there is no such version yet, or no version has seen the object.

    Example: ratchet model trace --data flights/2013-02.parquet
    """
    from kfp_ratchet.pipelines.project import Project
    from kfp_ratchet.pipelines.tracing import named_version
    from kfp_ratchet.pipelines.tracing import trace as look

    project = Project.open(config)
    if data is not None:
        _tell_sightings(project, name, data, as_json)
        return
    model, version = named_version(project, name)
    if not version:
        alias = name.partition("@")[2] or "champion"
        typer.echo("null" if as_json else f"{model} has no {alias} yet")
        raise typer.Exit(1)
    found = look(project, model, version)
    if as_json:
        typer.echo(json.dumps(_plain(found), indent=1))
    else:
        _tell(Terminal(), found, files)


def _tell(console: Terminal, found: "Trace", files: bool) -> None:
    label = ""
    for name, text in [*_heading(found), *_chain(found.lineage), *_data(found, files), *_code(found.lineage)]:
        console.say((f"{'' if name == label else name:<{_LABEL}}  ", "bold"), text)
        label = name
    for note in found.notes:
        console.say((note, "yellow"))


def _heading(found: "Trace") -> Iterator[Line]:
    lineage = found.lineage
    name = f"v{lineage.version}"
    yield name, f"of {lineage.model}, {_stands(found.reigns)}"
    yield name, lineage.digest
    if lineage.run:
        by = f" by {lineage.provenance.submitted_by}" if lineage.provenance.submitted_by else ""
        yield "run", f"{lineage.run}{by}, {moment(lineage.time)} UTC"
    for entry in found.history:
        by = f" by {entry.by}" if entry.by else ""
        yield "ledger", f"entry {entry.number}, {moment(entry.time)} UTC, {entry.kind}{by}: {entry.why}"
    for what in ("decision", "evidence", "policy"):
        if digest := getattr(lineage, f"{what}_digest"):
            yield what, digest


def _chain(lineage: "Lineage") -> Iterator[Line]:
    for made in reversed(lineage.steps):
        if made.step == "gate" and made.line:
            continue  # The ledger's entry says the same.
        yield made.step, made.line or made.problem
        if made.run != lineage.run:
            yield made.step, f"from the cache: made by {made.run}"
        for text in _pins(made, lineage):
            yield made.step, text
    if not lineage.steps:
        yield (
            "train",
            f"{lineage.workload or 'workload ' + _NOT_TOLD}, seed {lineage.seed}, {lineage.device or 'device ' + _NOT_TOLD}",
        )


def _pins(made: "MadeBy", lineage: "Lineage") -> Iterator[str]:
    """What a reader wants to know of a step beside what it found."""
    called = made.parameters
    if made.step == "train":
        libraries = (f"{name} {version}" for name, version in made.environment.libraries.items())
        yield ", ".join([f"seed {lineage.seed}", lineage.device, lineage.hardware or f"hardware {_NOT_TOLD}"])
        yield ", ".join([f"python {made.environment.python}", *libraries])
        yield f"parameters {called.get('parameters', '')}"
        yield f"workload {lineage.workload}, source {lineage.workload_digest or _NOT_TOLD}"
    elif made.step == "validate" and lineage.schema_digest:
        yield f"schema {lineage.schema_digest}"
    elif made.step == "prepare" and made.recipe_digest:
        yield f"recipe {made.recipe_digest}"
    elif made.step == "evaluate" and called.get("champion_version"):
        yield f"against champion v{called['champion_version']} {called.get('champion_digest', '')}"


def _data(found: "Trace", files: bool) -> Iterator[Line]:
    from kfp_ratchet.components.shared.manifest import counted
    from kfp_ratchet.components.shared.sources import parse_source

    lineage = found.lineage
    yield "data", f"revision {lineage.revision or _NOT_TOLD}"
    if lineage.window:
        yield "data", "window " + ", ".join(f"{key} {value}" for key, value in lineage.window.items() if value)
    sources = parse_source(lineage.source) if lineage.source else {}
    for name, rows in (found.manifest.tables if found.manifest else {}).items():
        origin = f" at {lineage.origins[name]}" if name in lineage.origins else ""
        place = f" in {sources[name]}{origin}" if name in sources else ""
        yield "data", f"{name}: {counted(rows.height, 'file')}, {int(rows['size'].sum()):,} bytes{place}"
        shown = rows if files else rows.head(_FIRST)
        for row in shown.iter_rows(named=True):
            yield "data", f"  {row['path']}  {row['size']:,} bytes  {row['version']}"
        if shown.height < rows.height:
            yield "data", f"  and {rows.height - shown.height:,} more: --files"
    if found.manifest is None:
        for name, uri in sources.items():
            yield "data", f"{name}: {uri}"


def _code(lineage: "Lineage") -> Iterator[Line]:
    told = lineage.facts
    yield "code", f"commit {told.get('commit', _NOT_TOLD)}"
    for name in ("repository", "pipeline YAML"):
        if name in told:
            yield "code", f"{name} {told[name]}"
    yield "code", f"kfp-ratchet {lineage.package or _NOT_TOLD}, source {lineage.code or _NOT_TOLD}"
    if lineage.image:
        yield "code", f"image {lineage.image}"


def _stands(reigns: "Sequence[Reign]") -> str:
    if not reigns:
        return "never champion"
    told = (
        f"since {moment(one.made.time)} UTC (entry {one.made.number})"
        if one.ended is None
        else f"{moment(one.made.time)} to {moment(one.ended.time)} UTC"
        for one in reigns
    )
    return ("champion " if reigns[-1].ended is None else "was champion ") + " and ".join(told)


def _plain(found: "Trace") -> dict[str, Any]:
    tables = found.manifest.tables if found.manifest else {}
    return {
        "model": found.lineage.model,
        "version": found.lineage.version,
        "lineage": found.lineage.model_dump(mode="json"),
        "kept": found.kept,
        "history": [entry.model_dump(mode="json") for entry in found.history],
        "champion": [_reign(one) for one in found.reigns],
        "files": {name: rows.to_dicts() for name, rows in tables.items()},
        "notes": found.notes,
    }


def _reign(one: "Reign") -> Mapping[str, str | int | None]:
    return {"since": one.made.time, "entry": one.made.number, "until": one.ended.time if one.ended else None}


def _tell_sightings(project: "Project", name: str, what: str, as_json: bool) -> None:
    from kfp_ratchet.components.shared.ledger import models
    from kfp_ratchet.pipelines.sightings import sightings

    searched = [project.model(name)] if name else sorted({project.config.name, *models(project.store)[0]})
    found, notes = sightings(project, searched, what)
    if as_json:
        told = [_sighting(one) for one in found]
        typer.echo(json.dumps({"data": what, "models": searched, "seen": told, "notes": notes}, indent=1))
    else:
        console = Terminal()
        for one in found:
            console.say((f"{one.model} v{one.version}", "bold"), f"  {one.verdict}, {_stands(one.reigns)}")
            console.say(f"  judged {moment(one.time)} UTC on data of revision {one.revision}")
            for item in one.objects[:_FIRST]:
                console.say(f"  {_object(item)}")
            if len(one.objects) > _FIRST:
                console.say(f"  and {len(one.objects) - _FIRST:,} more")
        if found:
            console.tell(_LISTED)
        else:
            so_far = ", as far as could be searched" if notes else ""
            console.tell(f"no version of {', '.join(searched)} was made from data that held {what!r}{so_far}")
        for note in notes:
            console.say((note, "yellow"))
    raise typer.Exit(0 if found else 1)


def _object(item: "Listed") -> str:
    return f"{item.table}: {item.path}  {item.size:,} bytes  {item.version}"


def _sighting(one: "Sighting") -> dict[str, Any]:
    return {
        "model": one.model,
        "version": one.version,
        "verdict": one.verdict,
        "time": one.time,
        "revision": one.revision,
        "champion": [_reign(each) for each in one.reigns],
        "objects": [{"table": o.table, "path": o.path, "size": o.size, "version": o.version} for o in one.objects],
    }
