"""A replay works in a copy: it reaches nothing of the project's own, and knows when it is no longer the same replay."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.config_yaml import read_yaml
from kfp_ratchet.pipelines.project import Project
from kfp_ratchet.pipelines.replay.settings import Replay
from kfp_ratchet.pipelines.replay.workspace import folder_of, held, settle

CONFIG = """\
name: mine
source: {rows: data/rows, other: "s3://bucket/other"}
schema: {rows: schema.yaml}
columns: {target: y, problem: binary, id: id}
prepare: {sql: ../shared rows.sql}
store: s3://company/ratchet
tracking_uri: http://mlflow.company
serving: {port: 8080, folder: /srv/models, keep_versions: 5}
notifications: {file: told.jsonl}
policy: {margin: 0.01}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "my project"
    (folder / "data" / "rows").mkdir(parents=True)
    (folder / "data" / "rows" / "not_code.py").write_text("")
    (folder / "ratchet.yaml").write_text(CONFIG)
    (folder / "schema.yaml").write_text("schema_type: polars_dataframe\ncolumns: {}\n")
    (tmp_path / "shared rows.sql").write_text("SELECT * FROM rows")
    (folder / "package").mkdir()
    (folder / "package" / "feed.py").write_text("def arrive(period, folder): ...\n")
    (folder / "notes.txt").write_text("not read by any step")
    return folder


def begin(
    folder: Path, fresh: bool = False, parameters: dict[str, Any] | None = None, **settings: Any
) -> tuple[Path, list[str]]:
    project, said = Project.open(folder / "ratchet.yaml"), []
    replay = Replay(**({"periods": "2025-01..2025-03", "feed": "package.feed:arrive"} | settings))
    with held(folder_of(project)):
        settle(project, replay, parameters or {}, fresh, said.append)
    return folder_of(project), said


def test_nothing_in_the_copy_points_to_the_projects_own_ledger_registry_server_or_people(project: Path) -> None:
    """A replay that promoted on the company's MLflow would be a release."""
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    copy, _ = begin(project)
    settings = read_yaml(copy / "ratchet.yaml").value
    assert settings["store"] == ".ratchet/store"
    assert settings["tracking_uri"] == "sqlite:///.ratchet/mlflow.db"
    assert settings["serving"] == {"port": 0, "folder": ".ratchet/serving", "keep_versions": 5}
    assert settings["notifications"] == {"on": []}
    assert settings["policy"] == {"margin": 0.01}
    assert all(path.read_bytes() == content for path, content in before.items())


def test_it_copies_what_steps_read_and_no_data(project: Path) -> None:
    copy, _ = begin(project)
    copied = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert copied == {"ratchet.yaml", "schema.yaml", "package/feed.py", "begun.json", "lock"}
    assert Project.open(copy / "ratchet.yaml").config.recipe(), "the SQL file outside the project is named in full"


def test_without_a_feed_it_reads_the_projects_data_where_it_lies(project: Path) -> None:
    copy, _ = begin(project, feed="")
    source = read_yaml(copy / "ratchet.yaml").value["source"]
    assert source == {"rows": str(project / "data" / "rows"), "other": "s3://bucket/other"}


def change_policy(project: Path) -> None:
    (project / "ratchet.yaml").write_text(CONFIG.replace("0.01", "0.02"))


def change_feed(project: Path) -> None:
    (project / "package" / "feed.py").write_text("def arrive(period, folder): print()\n")


def change_schema(project: Path) -> None:
    (project / "schema.yaml").write_text("schema_type: polars_dataframe\ncolumns: {}\nstrict: true\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [(change_policy, "ratchet.yaml"), (change_feed, "package/feed.py"), (change_schema, "schema.yaml")],
)
def test_a_changed_project_is_replayed_from_the_beginning_and_says_why(project: Path, change: Any, told: str) -> None:
    """Months judged by an old policy beside months judged by a new one would be the story of neither."""
    copy, _ = begin(project)
    (copy / ".ratchet").mkdir()
    change(project)
    copy, said = begin(project)
    assert said == [f"{told} changed since this replay was begun: it begins again"]
    assert not (copy / ".ratchet").exists()


def test_the_same_project_goes_on(project: Path) -> None:
    copy, _ = begin(project, parameters={"trials": 2})
    (copy / ".ratchet").mkdir()
    (project / "notes.txt").write_text("changed")
    _, said = begin(
        project, parameters={"trials": 2}, periods="2025-01..2025-05", incidents={"2025-02": "told otherwise"}
    )
    assert not said and (copy / ".ratchet").exists(), "more periods, and words of the page, are the same replay"
    _, said = begin(project, parameters={"trials": 3}, periods="2025-01..2025-05")
    assert said and "the parameters" in said[0]
    _, said = begin(project, parameters={"trials": 3}, periods="2025-02..2025-05")
    assert said and "the periods" in said[0]


def test_fresh_begins_again_and_a_copy_left_half_is_made_anew(project: Path) -> None:
    copy, _ = begin(project)
    (copy / ".ratchet").mkdir()
    begin(project, fresh=True)
    assert not (copy / ".ratchet").exists()
    (copy / "begun.json").unlink()
    (copy / "schema.yaml").unlink()
    begin(project)
    assert (copy / "schema.yaml").exists()


def _hold(folder: Path, ready: Any, done: Any) -> None:
    with held(folder):
        ready.set()
        done.wait(60)


def test_two_at_once_in_one_folder_are_refused_and_a_dead_one_is_no_hindrance(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "replay", ready, done))
    other.start()
    assert ready.wait(60)
    with (
        pytest.raises(InputError, match=rf"another replay \(process {other.pid}\) is at work in .*; wait for its end"),
        held(tmp_path / "replay"),
    ):
        pass
    other.kill()
    other.join()
    with held(tmp_path / "replay"):
        assert (tmp_path / "replay" / "lock").exists()
