"""Checks of a Kubeflow Pipelines server."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from kfp_ratchet.components.shared.names import counted
from kfp_ratchet.pipelines.doctor.check import Check, Look, failed, ok, skipped, warning
from kfp_ratchet.pipelines.server.errors import UnreachableError

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.declared import Declared
    from kfp_ratchet.pipelines.server.connection import Server

_KNOWN = "2.17"
_SKEW_WARNS, _SKEW_FAILS = 5, 60
"""Seconds."""
_LONG = timedelta(days=1)
_SHOWN = 5


def looks(server: "Server", declared: "Declared | None") -> Mapping[str, Look]:
    """What can be asked of a server, by name."""
    others: Mapping[str, Look] = {
        "credentials": partial(_credentials, server),
        "namespace": partial(_namespace, server),
        "clock": partial(_clock, server),
        "experiments": partial(_experiments, server, declared),
        "schedules": partial(_schedules, server),
        "runs": partial(_runs, server),
    }
    return {"server": partial(_version, server)} | {name: partial(_unless_away, one) for name, one in others.items()}


def _unless_away(one: Look) -> Check:
    """That a server is away is told once."""
    try:
        return one()
    except UnreachableError:
        return skipped("the server does not answer")


def _version(server: "Server") -> Check:
    found, ours = server.health().version, version("kfp")
    if not found:
        return ok(f"{server.settings.url} answers; it does not say its version (kfp here: {ours})")
    if found.removeprefix("v").startswith(_KNOWN):
        return ok(f"{server.settings.url} answers, version {found}")
    return warning(
        f"{server.settings.url} is of version {found}; tested is {_KNOWN}, and kfp here is {ours}",
        f"bring the server to {_KNOWN}, or try it on one that is not production; 2.5 and older need kubernetes.display_names: false",
    )


def _credentials(server: "Server") -> Check:
    server.runs(limit=1)
    return ok(f"runs can be listed (credentials in use: {server.credentials})")


def _namespace(server: "Server") -> Check:
    named, several = server.settings.namespace, server.health().multi_user
    if several and not named:
        return failed(
            "the server has several users, and no namespace is named", "set namespace of the server in pipelines.yaml"
        )
    if not several:
        if not named:
            return skipped("the server has one user")
        return warning(
            f"the server has one user and ignores the namespace {named!r}",
            "take namespace out of the server in pipelines.yaml",
        )
    server.experiments()
    return ok(f"experiments of {named} can be listed")


def _clock(server: "Server") -> Check:
    now = server.health().now
    if now is None:
        return skipped("the server does not say its time")
    seconds = abs((datetime.now(UTC) - now).total_seconds())
    said = f"the server's clock and this machine's differ by {seconds:.0f} s"
    if seconds > _SKEW_FAILS:
        return failed(said, "set both by NTP: leases and tokens end at the wrong time, schedules fire at the wrong one")
    return warning(said, "set both by NTP") if seconds > _SKEW_WARNS else ok(said)


def _experiments(server: "Server", declared: "Declared | None") -> Check:
    if declared is None:
        return skipped("there is no pipelines.yaml")
    wanted = {*declared.experiments} | {
        declared.experiment_of(name, schedule)
        for name, pipeline in declared.pipelines.items()
        for schedule in pipeline.schedules.values()
    }
    found = {one.name: one for one in server.experiments()}
    if missing := sorted(wanted - set(found)):
        return warning(f"missing: {_some(missing)}", "`ratchet server apply` makes them")
    if archived := sorted(name for name in wanted if found[name].archived):
        return warning(
            f"archived, where nobody sees their runs: {_some(archived)}", "restore them in the UI, or name others"
        )
    return ok(f"{counted(len(wanted), 'experiment')} of pipelines.yaml there")


def _schedules(server: "Server") -> Check:
    there, found = {one.id for one in server.pipelines()}, server.schedules()
    orphans = sorted(one.name for one in found if one.enabled and one.pipeline_id and one.pipeline_id not in there)
    if orphans:
        return failed(
            f"enabled, though their pipeline is deleted: {_some(orphans)}: with a version they go on firing, without one they never will",
            "`ratchet server apply --prune` removes those of pipelines.yaml; disable the others in the UI",
        )
    return ok(f"{counted(sum(one.enabled for one in found), 'schedule')} enabled, each with its pipeline")


def _runs(server: "Server") -> Check:
    now = server.health().now or datetime.now(UTC)
    running = server.runs(states=("PENDING", "RUNNING"))
    old = sorted(f"{one.name} ({one.id})" for one in running if now - one.created > _LONG)
    if old:
        return warning(
            f"running for more than a day: {_some(old)}; a missing secret or a node that no pod fits look so",
            "`ratchet runs attach` says where they are, `ratchet runs cancel` ends them",
        )
    return ok(f"{counted(len(running), 'run')} in progress, none for more than a day")


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
