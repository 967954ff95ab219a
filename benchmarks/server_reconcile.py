"""How long `ratchet server diff` and `apply` take with 50 pipelines of 20 versions and 50 schedules, each call answered after 20 ms.

python benchmarks/server_reconcile.py [--pipelines 50] [--versions 20] [--schedules 50]

The server is the package's double. Beside it the same work with kfp's own client, one call after the other: find each pipeline, read all
its versions, and list the schedules; then upload a version of each and create, disable and delete its schedule.
"""

import argparse
import io
import logging
import os
import sys
import time
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from results import keep

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "pipelines" / "server"))
from declared_project import Project, spec

from kfp_ratchet.pipelines.server.connection import Server
from kfp_ratchet.pipelines.server.settings import ServerSettings
from kfp_ratchet.testing.kfp_server import KfpServer

ANSWER = 0.02


def timed(work):
    """Seconds, and what came of it."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def with_kfp_client(url: str, project: Project) -> tuple[float, float]:
    """Seconds of reading all, and of replacing all, by kfp's client."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import kfp

    client = kfp.Client(host=url)

    def pages(listed, attribute, **more):
        found, token = [], ""
        while True:
            page = listed(page_size=100, page_token=token, **more)
            found += getattr(page, attribute) or []
            token = page.next_page_token
            if not token:
                return found

    def read():
        ids = {name: client.get_pipeline_id(name) for name in project.pipelines}
        versions = {
            name: pages(
                client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline_id, sort_by="created_at desc"
            )
            for name, pipeline_id in ids.items()
        }
        return ids, versions, pages(client.list_recurring_runs, "recurring_runs")

    def replace(ids, schedules):
        experiment = client.create_experiment("flights").experiment_id
        for name, pipeline_id in ids.items():
            made = client.upload_pipeline_version(
                str(project.folder / f"{name}.yaml"), f"by-client-{time.time_ns()}", pipeline_id=pipeline_id
            )
            for old in [one for one in schedules if one.pipeline_version_reference.pipeline_id == pipeline_id]:
                new = client.create_recurring_run(
                    experiment,
                    old.display_name,
                    cron_expression="0 0 3 * * *",
                    pipeline_id=pipeline_id,
                    version_id=made.pipeline_version_id,
                    enabled=False,
                )
                client.disable_recurring_run(old.recurring_run_id)
                client.enable_recurring_run(new.recurring_run_id)
                client.delete_recurring_run(old.recurring_run_id)

    with redirect_stdout(io.StringIO()):
        reading, (ids, _, schedules) = timed(read)
        return reading, timed(lambda: replace(ids, schedules))[0]


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pipelines", type=int, default=50)
    parser.add_argument("--versions", type=int, default=20)
    parser.add_argument("--schedules", type=int, default=50, help="in all")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder, KfpServer(pace=1) as double:
        project = Project(Path(folder))
        server = Server.connect(ServerSettings(url=double.url))
        nightly = {"cron": "0 3 * * *", "experiment": "flights"}

        def declare(word: str) -> None:
            for number in range(asked.pipelines):
                keys = range(number, asked.schedules, asked.pipelines)
                project.pipeline(f"pipeline-{number:03}", word, {f"s{key}": dict(nightly) for key in keys})

        declare("first")
        project.apply(server)
        for one in server.pipelines():
            for number in range(asked.versions - 1):
                server.upload_version(one.id, f"v{number}", "", yaml.safe_dump(spec(f"older {number}")))
        double.delay = ANSWER
        declare("second")
        apply_seconds, applied = timed(lambda: project.apply(server))
        assert not applied.errors, applied.errors
        double.calls.clear()
        diff_seconds, plan = timed(lambda: project.plan(server))
        assert plan.differences == (), plan.differences
        diff_calls = len(double.calls)
        read_seconds, replace_seconds = with_kfp_client(double.url, project)
    both = read_seconds + replace_seconds
    keep(
        Path(__file__).name,
        f"{os.cpu_count()} cores; {asked.pipelines} pipelines of {asked.versions} versions, {asked.schedules} schedules in all, "
        "20 ms a call; the server is the package's double, on the same machine. Aim: each under 10 s.\n\n"
        "| | `ratchet` | kfp's client, one call after the other | times faster |\n|---|---|---|---|\n"
        f"| diff, compilation included ({diff_calls} calls) | {diff_seconds:.2f} s | {read_seconds:.2f} s "
        f"| {read_seconds / diff_seconds:.1f}x |\n"
        f"| apply: a version of each, all schedules replaced | {apply_seconds:.2f} s | {both:.2f} s | {both / apply_seconds:.1f}x |",
    )


if __name__ == "__main__":
    main()
