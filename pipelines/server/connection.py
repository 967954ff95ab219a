"""A Kubeflow Pipelines server. Not `kfp.Client`: that takes long to import, drops `enable_caching=False` together with a version without
a word, refuses a schedule without a version, and repeats nothing that fails."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote

from kfp_ratchet.pipelines.server import conversion
from kfp_ratchet.pipelines.server.errors import ConflictError, NotFoundError, UnclearError
from kfp_ratchet.pipelines.server.objects import (
    Experiment,
    Health,
    NewSchedule,
    Pipeline,
    Run,
    RunState,
    Schedule,
    Version,
)
from kfp_ratchet.pipelines.server.settings import ServerSettings
from kfp_ratchet.pipelines.server.transport import Json, Transport

_PAGE = 100
_TRIES = 3
_ATTEMPT = "attempt"

Thing = TypeVar("Thing")
Kind = Literal["run", "pipeline", "version", "schedule", "experiment"]
_PAGES: Mapping[Kind, str] = {
    "run": "runs/details/{}",
    "pipeline": "pipelines/details/{}",
    "version": "pipelines/details/{}/version/{}",
    "schedule": "recurringrun/details/{}",
    "experiment": "experiments/details/{}",
}


class Server:
    """What one can ask of a server. Any number of threads may.

    Every method raises `UnreachableError` when there is no answer, `UnauthorizedError`, and `RefusedError` for what the server calls wrong.

    Args:
        settings: Where it is.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self._http = Transport(settings)

    @classmethod
    def connect(cls, settings: ServerSettings) -> Self:
        """The server at an address; nothing is asked of it yet."""
        return cls(settings)

    @property
    def credentials(self) -> str:
        """Which credentials are used, by their place."""
        return self._http.credentials

    def health(self) -> Health:
        """What it says of itself."""
        said, date = self._http.get_dated("/healthz")
        now = None
        with suppress(ValueError, TypeError):
            now = parsedate_to_datetime(date)
        version = str(said.get("tag_name", ""))
        return Health("" if version == "unknown" else version, bool(said.get("multi_user")), now)

    def pipelines(self) -> list[Pipeline]:
        """All of the namespace."""
        return [conversion.pipeline(one) for one in self._all("/pipelines", "pipelines", self._namespace)]

    def pipeline(self, name: str) -> Pipeline | None:
        """The one of exactly that name. The database takes other capitals and accents for the same: such a one is not it."""
        try:
            found = conversion.pipeline(self._http.get(f"/pipelines/names/{quote(name, safe='')}", self._namespace))
        except NotFoundError:
            return None
        return found if found.name == name else None

    def create_pipeline(self, name: str, description: str) -> Pipeline:
        """Create a pipeline without versions; of a name that is taken, the one that is there.

        Raises:
            ConflictError: Another spelling of the name is taken.
        """
        content = {"display_name": name, "description": description, **self._namespace}
        try:
            return self._created(
                lambda: conversion.pipeline(self._http.create("/pipelines", content)), lambda: self.pipeline(name)
            )
        except ConflictError:
            found = self.pipeline(name)
            if found is None:
                raise
            return found

    def versions(self, pipeline_id: str, newest: int = 0) -> list[Version]:
        """Versions of a pipeline, newest first; of equally new ones the larger id.

        Args:
            pipeline_id: Of which.
            newest: How many; 0 for all.
        """
        path, query = f"/pipelines/{pipeline_id}/versions", {"sort_by": "created_at desc"}
        found = [conversion.version(one) for one in self._all(path, "pipeline_versions", query, newest)]
        return sorted(found, key=lambda one: (one.created, one.id), reverse=True)

    def upload_version(self, pipeline_id: str, name: str, description: str, text: str) -> Version:
        """Upload a version, once.

        Args:
            pipeline_id: Of which pipeline.
            name: Of the version.
            description: Of the version; it travels in the address.
            text: YAML, of one or two documents.

        Raises:
            ConflictError: The name is taken.
            RefusedError: The server does not take this for a pipeline.
        """
        query = {"name": name, "pipelineid": pipeline_id, "description": description}

        def same() -> Version | None:
            found = [one for one in self.versions(pipeline_id) if one.name == name and one.description == description]
            return found[0] if found else None

        return self._created(
            lambda: conversion.version(self._http.create("/pipelines/upload_version", query=query, upload=text)), same
        )

    def delete_version(self, pipeline_id: str, version_id: str) -> None:
        """Delete a version, also one that is gone already."""
        self._delete(f"/pipelines/{pipeline_id}/versions/{version_id}")

    def delete_pipeline(self, pipeline_id: str) -> None:
        """Delete a pipeline with its versions; its runs stay, and so do its schedules."""
        self._delete(f"/pipelines/{pipeline_id}", {"cascade": "true"})

    def experiment(self, name: str, description: str = "") -> Experiment:
        """Get an experiment, or create it. One that is archived is returned so."""
        content = {"display_name": name, "description": description, **self._namespace}

        def present() -> Experiment | None:
            query = {**self._namespace, "filter": _equals("display_name", name)}
            return next((conversion.experiment(one) for one in self._all("/experiments", "experiments", query)), None)

        def made() -> Experiment:
            return conversion.experiment(self._http.create("/experiments", content))

        found = present()
        if found is None:
            try:
                found = self._created(made, present)
            except ConflictError:
                found = present()
                if found is None:
                    raise
        return found

    def experiments(self) -> list[Experiment]:
        """All of the namespace, archived ones too."""
        return [conversion.experiment(one) for one in self._all("/experiments", "experiments", self._namespace)]

    def schedules(self) -> list[Schedule]:
        """All recurring runs of the namespace."""
        return [conversion.schedule(one) for one in self._all("/recurringruns", "recurringRuns", self._namespace)]

    def schedule(self, schedule_id: str) -> Schedule:
        """A recurring run.

        Raises:
            NotFoundError: It is gone.
        """
        return conversion.schedule(self._http.get(f"/recurringruns/{schedule_id}"))

    def create_schedule(self, new: NewSchedule) -> Schedule:
        """Create a recurring run, once."""
        content = conversion.as_json(new)
        attempt, content["description"] = _attempted(new.description)
        return self._created(
            lambda: conversion.schedule(self._http.create("/recurringruns", content)),
            lambda: next((one for one in self.schedules() if attempt in one.description), None),
        )

    def enable(self, schedule_id: str) -> None:
        """Let a recurring run fire."""
        self._http.tell(f"/recurringruns/{schedule_id}:enable")

    def disable(self, schedule_id: str) -> None:
        """Let a recurring run fire no more."""
        self._http.tell(f"/recurringruns/{schedule_id}:disable")

    def delete_schedule(self, schedule_id: str) -> None:
        """Delete a recurring run, also one that is gone already."""
        self._delete(f"/recurringruns/{schedule_id}")

    def runs(
        self, *, limit: int = 0, experiment_id: str = "", states: Sequence[RunState] = (), name: str = ""
    ) -> list[Run]:
        """Runs, newest first.

        Args:
            limit: How many; 0 for all.
            experiment_id: Only of this one.
            states: Only in one of these.
            name: Only of this name, which several may have.
        """
        base = {
            "sort_by": "created_at desc",
            "experiment_id": experiment_id,
            **({} if experiment_id else self._namespace),
        }
        found: dict[str, Run] = {}
        for state in states or [""]:
            said = {key: value for key, value in (("state", state), ("name", name)) if value}
            query = {**base, **({"filter": _equals(**said)} if said else {})}
            found |= {one["run_id"]: conversion.run(one) for one in self._all("/runs", "runs", query, limit)}
        return sorted(found.values(), key=lambda one: (one.created, one.id), reverse=True)[: limit or None]

    def run(self, run_id: str) -> Run:
        """A run with its tasks.

        Raises:
            NotFoundError: It is gone.
        """
        return conversion.run(self._http.get(f"/runs/{run_id}"))

    def create_run(
        self,
        *,
        name: str,
        description: str,
        experiment_id: str,
        parameters: Mapping[str, Any],
        pipeline_id: str = "",
        version_id: str = "",
        spec: Mapping[str, Any] | None = None,
        pipeline_root: str = "",
        service_account: str = "",
    ) -> Run:
        """Start a run, once: of a version, or of a spec that is sent along.

        Raises:
            ServerError: The server cannot make a workflow of it: a broken graph, an unknown version.
        """
        attempt, description = _attempted(description)
        content: Json = {
            "display_name": name,
            "description": description,
            "experiment_id": experiment_id,
            "runtime_config": conversion.runtime(parameters, pipeline_root),
            **(
                {"pipeline_spec": dict(spec)}
                if spec is not None
                else {"pipeline_version_reference": conversion.reference(pipeline_id, version_id)}
            ),
            **({"service_account": service_account} if service_account else {}),
        }
        return self._created(
            lambda: conversion.run(self._http.create("/runs", content)),
            lambda: next((one for one in self.runs(name=name, limit=_PAGE) if attempt in one.description), None),
        )

    def terminate(self, run_id: str) -> None:
        """End a run; the server will call it FAILED.

        Raises:
            RefusedError: It is over, or is ending already.
        """
        self._http.tell(f"/runs/{run_id}:terminate")

    def retry(self, run_id: str) -> None:
        """Let a failed run go on where it failed, under the same id.

        Raises:
            ConflictError: It did not fail.
        """
        self._http.create(f"/runs/{run_id}:retry")

    def archive(self, run_id: str) -> None:
        """Put a run out of sight; one that runs goes on."""
        self._http.tell(f"/runs/{run_id}:archive")

    def ui(self, kind: Kind, *ids: str) -> str:
        """Where a person sees it."""
        return f"{self.settings.ui or self.settings.url}/#/{_PAGES[kind].format(*ids)}"

    @property
    def _namespace(self) -> dict[str, str]:
        return {"namespace": self.settings.namespace} if self.settings.namespace else {}

    def _all(self, path: str, key: str, query: Mapping[str, Any], limit: int = 0) -> Iterator[Json]:
        """Entries of all pages. What is created meanwhile may move the pages: nothing is told twice."""
        seen: set[str] = set()
        token = ""
        while True:
            page = self._http.get(path, {**query, "page_size": min(limit or _PAGE, _PAGE), "page_token": token})
            for entry in page.get(key, []):
                identity = json.dumps([value for name, value in sorted(entry.items()) if name.endswith("_id")])
                if identity not in seen:
                    seen.add(identity)
                    yield entry
                if limit and len(seen) >= limit:
                    return
            token = page.get("next_page_token", "")
            if not token:
                return

    def _delete(self, path: str, query: Mapping[str, Any] | None = None) -> None:
        with suppress(NotFoundError):
            self._http.delete(path, query)

    def _created(self, make: Callable[[], Thing], find: Callable[[], Thing | None]) -> Thing:
        """Create once: where no answer came it is looked for first, since it may have been done."""
        for attempt in range(_TRIES):
            try:
                return make()
            except UnclearError:
                if (found := find()) is not None:
                    return found
                if attempt + 1 == _TRIES:
                    raise
            except ConflictError:
                # The attempt before may have arrived after all.
                if attempt == 0 or (found := find()) is None:
                    raise
                return found
        raise AssertionError("the last attempt returns or raises")


def _equals(key: str = "", value: str = "", **more: str) -> str:
    """A filter; several conditions must all hold."""
    pairs = {**({key: value} if key else {}), **more}
    return json.dumps(
        {"predicates": [{"operation": "EQUALS", "key": name, "stringValue": text} for name, text in pairs.items()]}
    )


def _attempted(description: str) -> tuple[str, str]:
    """What tells one creation from all others of the same name, and the description with it."""
    attempt = f"{_ATTEMPT}={uuid.uuid4().hex}"
    marked = description.rpartition("\n")[2].startswith("kfp-ratchet:")
    return attempt, f"{description} {attempt}" if marked else f"{description}\n\nkfp-ratchet: {attempt}".lstrip()
