"""What Git says should be on a server: each pipeline's content with its descriptions, and the recurring runs of its schedules."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kfp_ratchet.components.shared.credentials import secret_in
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.crons import CronError
from kfp_ratchet.pipelines.declared import Declared
from kfp_ratchet.pipelines.declared_schedules import DeclaredSchedule, Span
from kfp_ratchet.pipelines.pipeline_parameters import READABLE_BY_ALL
from kfp_ratchet.pipelines.provenance import authored, provenance
from kfp_ratchet.pipelines.server.marks import Mark, described
from kfp_ratchet.pipelines.server.objects import NewSchedule

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.pipeline_text import PipelineText

_COMMIT = 12
_DIGEST = 8


@dataclass(frozen=True)
class Source:
    """Where in Git the content comes from; texts without Git are ""."""

    commit: str = ""
    dirty: bool = False
    authored: str = ""
    repository: str = ""
    """Web address."""

    @classmethod
    def of(cls, folder: Path, repository: str = "") -> Self:
        """The commit of a folder."""
        told = provenance(folder)
        if not told:
            return cls(repository=repository)
        return cls(
            str(told["commit"]),
            bool(told.get("dirty")),
            authored(folder),
            repository or web_address(str(told.get("repository", ""))),
        )

    def lines(self) -> list[str]:
        """For people: commit, when it was written, and where to see it."""
        if not self.commit:
            return ["From files of which Git tells no commit."]
        changed = ", with changes that are in no commit" if self.dirty else ""
        link = [f"{self.repository}/commit/{self.commit}"] if self.repository else []
        return [f"Commit {self.commit[:_COMMIT]} of {self.authored}{changed}.", *link]


def owner_of(declared: Declared) -> str:
    """Who a file's things on a server belong to: its name, and the repository that it is in, since others may choose the same name."""
    repository = Source.of(declared.folder, declared.repository).repository
    return f"{declared.name}@{repository.partition('://')[2]}" if repository else declared.name


@dataclass(frozen=True)
class WantedSchedule:
    """A schedule of a pipeline."""

    pipeline: str
    key: str
    declared: DeclaredSchedule
    experiment: str
    parameters: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As in `ratchet schedule`."""
        return f"{self.pipeline}/{self.key}"

    def spans(self, server_zone: tzinfo, now: datetime, backfill: bool = False) -> list[Span]:
        """The recurring runs it takes.

        Raises:
            InputError: Its cron cannot be told the server.
        """
        try:
            return self.declared.spans(server_zone, now, backfill)
        except CronError as error:
            raise InputError(
                f"pipelines.{self.pipeline}.schedules.{self.key}: {error}",
                "choose a time that is on the same day there, restrict no days, or write the cron for `time_zone: UTC`",
            ) from None


@dataclass(frozen=True)
class WantedPipeline:
    """A pipeline."""

    owner: str
    name: str
    spec: "PipelineText"
    about: str
    """What it is and who answers for it."""
    source: Source
    schedules: tuple[WantedSchedule, ...] = ()

    @property
    def digest(self) -> str:
        """Of its content."""
        return self.spec.digest

    @property
    def description(self) -> str:
        """Of the pipeline on the server, where it can never be changed."""
        return described(self.about, Mark(self.owner, self.name))

    @property
    def version_name(self) -> str:
        """Name of the version with this content."""
        commit = (
            self.source.commit[:_COMMIT] + ("-dirty" if self.source.dirty else "") if self.source.commit else "local"
        )
        return f"{commit}-{short(self.digest)}"

    @property
    def version_description(self) -> str:
        """Description of that version."""
        mark = Mark(self.owner, self.name, digest=self.digest, commit=self.source.commit)
        return described("\n".join([*filter(None, [self.about]), "", *self.source.lines()]), mark)

    def recurring(
        self, wanted: WantedSchedule, spans: list[Span], pipeline_id: str, version_id: str, experiment_id: str
    ) -> list[NewSchedule]:
        """The recurring runs of one of its schedules."""
        declared = wanted.declared
        when = f"{declared.cron} {declared.time_zone}" if declared.cron else f"every {declared.every}"
        return [
            NewSchedule(
                name=f"{self.name} {wanted.key}"
                + (f" from {span.since:%Y-%m-%d}" if span.since and span.trigger.start else ""),
                description=described(
                    when + (f", clocks as of {span.since:%Y-%m-%d}" if span.since else ""),
                    Mark(
                        self.owner,
                        self.name,
                        wanted.key,
                        f"{span.since:%Y-%m-%dT%H:%M:%SZ}" if span.since else "",
                        self.digest,
                        self.source.commit,
                    ),
                ),
                experiment_id=experiment_id,
                pipeline_id=pipeline_id,
                version_id=version_id,
                trigger=span.trigger,
                parameters=wanted.parameters,
                catch_up=declared.catch_up,
                max_concurrency=declared.max_concurrency,
                enabled=declared.enabled,
            )
            for span in spans
        ]


def wanted_pipelines(declared: Declared, compiled: Mapping[str, "PipelineText"]) -> dict[str, WantedPipeline]:
    """What a `pipelines.yaml` asks for, by name.

    Args:
        declared: The file.
        compiled: Content by name.

    Raises:
        InputError: A schedule gives its pipeline a parameter that does not fit; every such problem is told.
    """
    source, owner = Source.of(declared.folder, declared.repository), owner_of(declared)
    found: dict[str, WantedPipeline] = {}
    problems: list[InputError] = []
    for name, one in declared.pipelines.items():
        spec, schedules = compiled[name], []
        for key, schedule in one.schedules.items():
            try:
                parameters = spec.check(schedule.parameters, f"pipelines.{name}.schedules.{key}.parameters")
            except InputError as error:
                problems.append(error)
                continue
            schedules.append(WantedSchedule(name, key, schedule, declared.experiment_of(name, schedule), parameters))
        owners = f"Owners: {', '.join(one.owners)}" if one.owners else ""
        about = "\n".join(filter(None, [one.description or spec.description, owners]))
        if found_secret := secret_in(about):
            problems.append(InputError(f"pipelines.{name}: description or owners hold {found_secret}", READABLE_BY_ALL))
        found[name] = WantedPipeline(owner, name, spec, about, source, tuple(schedules))
    if problems:
        raise InputError(
            "\n".join(error.message for error in problems), next((each.remedy for each in problems if each.remedy), "")
        )
    return found


def short(digest: str) -> str:
    """A digest as people read it."""
    return digest.rpartition(":")[2][:_DIGEST]


def web_address(remote: str) -> str:
    """The web address of a Git remote; "" for what has none, such as a folder."""
    address = remote.strip().removesuffix("/").removesuffix(".git")
    if address.startswith(("https://", "http://")):
        return address
    if address.startswith("ssh://"):
        host, _, path = address.removeprefix("ssh://").rpartition("@")[2].partition("/")
        return f"https://{host.partition(':')[0]}/{path}"
    user, at, rest = address.partition("@")
    host, colon, path = rest.partition(":")
    return f"https://{host}/{path}" if at and colon and "/" not in user else ""
