"""Lineage: what made a version of a model, from the registry back to the objects of its data.

The run journal is the graph: every step's record names its own parameters and the run and step behind each of its inputs, so the way
leads through whatever came from the cache. `register` walks it once and keeps what it finds as `lineage/<model>/<version>.json` in the
store: the first run that made a version says how it was made, and later ones, which made the same bytes, change nothing.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from kfp_ratchet.components.shared.canonical import digest, loads
from kfp_ratchet.components.shared.credentials import public_address
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.environment import Environment
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.journal import Origin, Record, read_record
from kfp_ratchet.components.shared.manifest import Manifest
from kfp_ratchet.components.shared.model import Card
from kfp_ratchet.components.shared.store import Store


class Provenance(BaseModel):
    """What only the submitter of a run knows: the pipeline parameter `provenance`. Empty where it was not told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    commit: str = Field(default="", description="Git commit of the project.")
    dirty: bool | None = Field(
        default=None, description="Whether files of the project were not as in that commit; null when nobody knows."
    )
    repository: str = Field(default="", description="Where the project is cloned from; credentials are taken out.")
    yaml_digest: str = Field(default="", description="SHA-256 of the compiled YAML that ran.")
    submitted_by: str = Field(default="", description="Who or what started the run.")

    @field_validator("repository")
    @classmethod
    def _without_credentials(cls, repository: str) -> str:
        return public_address(repository)


class MadeBy(BaseModel):
    """One step of the chain, as its journal record has it."""

    model_config = ConfigDict(frozen=True)

    step: str
    run: str
    started: str = ""
    line: str = Field(default="", description="What the step found, in one line.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="Its inputs that are no artifacts.")
    inputs: dict[str, Origin] = Field(default_factory=dict, description="Run and step behind each input artifact.")
    environment: Environment = Environment()
    recipe_digest: str = Field(default="", description="Of `prepare`: digest of the SQL, or of the function's module.")
    problem: str = Field(default="", description="Why nothing more is known of it; empty when it is.")

    @classmethod
    def of(cls, origin: Origin, record: Record | None, problem: str = "") -> Self:
        """What a record says, or that there is none."""
        if record is None:
            return cls(step=origin.step, run=origin.run, problem=problem or "it left no record in the run journal")
        recipe = record.details.get("recipe")
        made = str(recipe.get("digest", "")) if isinstance(recipe, dict) else ""
        return cls(
            **record.model_dump(include=set(cls.model_fields) - {"recipe_digest", "problem"}), recipe_digest=made
        )


class Lineage(BaseModel):
    """What made a version; empty fields where nobody could tell."""

    model_config = ConfigDict(frozen=True)

    model: str
    version: str = Field(default="", description="Empty until the registry has given it one.")
    digest: str = Field(description="The model's digest.")
    run: str = Field(default="", description="The run that registered it first.")
    time: str = Field(default="", description="When, UTC, ISO 8601.")
    verdict: str = Field(default="", description="What the gate decided then.")
    revision: str = Field(default="", description="Digest of the manifest of its data.")
    manifest: str = Field(default="", description="The manifest's key in the store.")
    source: str = Field(default="", description="Where the data was: a URI, or JSON of URIs by table.")
    origins: dict[str, str] = Field(
        default_factory=dict, description="By table, what a moving source was at: for `dvc://` the commit."
    )
    window: dict[str, Any] = Field(default_factory=dict, description="The window, with the end that was pinned.")
    schema_digest: str = Field(default="", description="Digest of the text of the user's schema.")
    policy_digest: str = ""
    evidence_digest: str = ""
    decision_digest: str = ""
    workload: str = ""
    workload_digest: str = Field(default="", description="Digest of the workload's source.")
    seed: int = 0
    device: str = ""
    hardware: str = Field(default="", description="What the model was fitted on, in words.")
    package: str = Field(default="", description="Version of this package that fitted it.")
    image: str = Field(default="", description="Container image that it was fitted in; empty outside of one.")
    code: str = Field(default="", description="Digest of this package's source then.")
    provenance: Provenance = Provenance()
    steps: tuple[MadeBy, ...] = Field(default=(), description="The chain, each step after those it took from.")

    @classmethod
    def load(cls, store: Store, model: str, version: str) -> Self | None:
        """The kept lineage of a version, None when none was kept.

        Raises:
            RatchetError: It is damaged, or another version's.
        """
        key = _key(model, version)
        content = store.get(key)
        if content is None:
            return None
        try:
            found = cls.model_validate(loads(content))
            if (found.model, found.version) != (model, version):
                raise ValueError(f"it is that of v{found.version} of {found.model}")
        except ValueError as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise RatchetError(
                f"the lineage {key} in the store {store.uri} is damaged: {reason}",
                "restore it from a backup, or delete it: what the ledger and the model's card say is told then",
            ) from error
        return found

    def keep(self, store: Store) -> bool:
        """Keep it, unless an earlier run has; whether it was kept."""
        return store.create(_key(self.model, self.version), self.model_dump_json(indent=1).encode())

    def step(self, name: str) -> MadeBy | None:
        """The step of a name, None when the chain has none."""
        return next((made for made in self.steps if made.step == name), None)

    @property
    def facts(self) -> dict[str, str]:
        """What is told of the code and the machine, by name; what nobody told is left out."""
        told = self.provenance
        named = {
            "commit": said_commit(told),
            "repository": told.repository,
            "pipeline YAML": told.yaml_digest,
            "submitted by": told.submitted_by,
            "package": self.package,
            "source of the package": self.code,
            "image": self.image,
            "schema": self.schema_digest,
            "hardware": self.hardware,
        }
        return {name: value for name, value in named.items() if value}


def said_commit(told: Provenance) -> str:
    """The commit, and whether the project was as it says; "" when nobody told."""
    state = {True: " and changes that were not committed", False: "", None: ", changed or not"}[told.dirty]
    return f"{told.commit}{state}" if told.commit else ""


def collect(
    store: Store,
    model: str,
    digest_of_model: str,
    run: str,
    inputs: Mapping[str, Origin],
    card: Card,
    decided: Decision,
    decision_digest: str,
    provenance: Provenance,
) -> Lineage:
    """What made a model that is about to become a version, walked back from the inputs of the step that registers it.

    Args:
        store: The project's store, which holds the journal.
        model: Registered name.
        digest_of_model: The model's digest.
        run: The run that registers it.
        inputs: Run and step behind the model, first of all, and what it was judged by.
        card: The model's card.
        decided: What was decided about it.
        decision_digest: Digest of the decision's file.
        provenance: What the submitter told.
    """
    steps = chain(store, inputs.values())
    parameters = {made.step: made.parameters for made in steps}
    fitted = next((made.environment for made in steps if made.step == inputs["model"].step), Environment())
    schema = parameters.get("validate", {}).get("schema", "")
    return Lineage(
        model=model,
        digest=digest_of_model,
        run=run,
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        verdict=decided.verdict,
        revision=card.revision,
        manifest=_manifest(card.revision),
        source=parameters.get("ingest", {}).get("source", ""),
        origins=_origins(store, steps),
        window=card.window,
        schema_digest=digest(schema) if schema else "",
        policy_digest=decided.policy_digest,
        evidence_digest=decided.evidence_digest,
        decision_digest=decision_digest,
        workload=card.workload,
        workload_digest=card.code.get("workload", ""),
        seed=card.seed,
        device=card.device,
        hardware=fitted.hardware,
        package=fitted.package or card.code.get("kfp-ratchet", ""),
        image=fitted.image,
        code=fitted.code,
        provenance=provenance,
        steps=tuple(steps),
    )


def chain(store: Store, origins: Iterable[Origin]) -> list[MadeBy]:
    """The steps behind some artifacts, all the way back, each after those that it took from; also those that left no record.

    A damaged record is told in its step's place: that a model can be registered is worth more than a whole chain.
    """
    found: dict[Origin, MadeBy] = {}
    seen: set[Origin] = set()

    def visit(origin: Origin) -> None:
        if origin in seen:
            return
        seen.add(origin)
        record, problem = _kept(store, origin)
        for before in record.inputs.values() if record else ():
            visit(before)
        tuned = _tuning(store, record, dict.fromkeys([origin.run, *(made.run for made in found)])) if record else None
        if tuned is not None:
            found[Origin(run=tuned.run, step=tuned.step)] = MadeBy.of(origin, tuned)
        found[origin] = MadeBy.of(origin, record, problem)

    for origin in origins:
        visit(origin)
    return list(found.values())


def versions(store: Store, model: str) -> list[str]:
    """The versions of a model whose lineage is kept, in their order."""
    names = [key.rpartition("/")[2].removesuffix(".json") for key in store.keys(f"lineage/{model}")]
    return sorted(filter(str.isdecimal, names), key=int)


def _origins(store: Store, steps: Iterable[MadeBy]) -> dict[str, str]:
    """What `pin` found the sources at. It hands over no artifact either: it ran where `ingest` did."""
    run = next((made.run for made in steps if made.step == "ingest"), "")
    pinned, _ = _kept(store, Origin(run=run, step="pin")) if run else (None, "")
    found = pinned.details.get("origins") if pinned else None
    return {name: str(origin) for name, origin in found.items() if origin} if isinstance(found, dict) else {}


def _tuning(store: Store, fit: Record, runs: Iterable[str]) -> Record | None:
    """The tuning behind a fit. It hands over a parameter and no artifact, so it is known by the parameters that it found."""
    if fit.step != "train" or "parameters" not in fit.parameters:
        return None
    for run in runs:
        record, _ = _kept(store, Origin(run=run, step="tune"))
        if record is not None and record.details.get("best") == _parsed(fit.parameters["parameters"]):
            return record
    return None


def _kept(store: Store, origin: Origin) -> tuple[Record | None, str]:
    try:
        return read_record(store, origin), ""
    except RatchetError as error:
        return None, error.message


def _parsed(text: object) -> object:
    try:
        return loads(str(text) or "{}")
    except ValueError:
        return text


def _manifest(revision: str) -> str:
    try:
        return Manifest.key(revision) if revision else ""
    except RatchetError:  # a revision of someone's own making
        return ""


def _key(model: str, version: str) -> str:
    return f"lineage/{model}/{version}.json"
