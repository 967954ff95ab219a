"""A version is traced to its objects and made again from its pins, on a small project with a workload and a recipe of its own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sklearn import datasets

ROOT = Path(__file__).parent.parent.parent.parent
RATCHET = Path(sys.executable).parent / "ratchet"
pytestmark = pytest.mark.slow
RECIPE = 'def rows(tables):\n    return tables["rows"].drop("worst concavity")\n'


class Project:
    """A folder under Git; what it holds is as in the commit. The data lies in it, or where `source` says by then."""

    def __init__(self, folder: Path, source: str = "") -> None:
        self.folder = folder
        folder.mkdir()
        shutil.copy(ROOT / "examples" / "gradient_boosting" / "workload.py", folder)
        (folder / "recipe.py").write_text(RECIPE)
        frame = pl.from_pandas(datasets.load_breast_cancer(as_frame=True).frame)
        frame.with_row_index("id").write_parquet(folder / "cells.parquet")
        assert self.ratchet("init", "cells.parquet", "--target", "target").returncode == 0
        config = folder / "ratchet.yaml"
        text = config.read_text().replace("#workload: tabular", "workload: workload:GradientBoosting")
        text = text.replace("source: cells.parquet", f"source: {source or 'cells.parquet'}")
        config.write_text(
            text.replace("trials: 10", "trials: 0")
            + "\nprepare: {function: recipe:rows}\nparameters: {iterations: 40}\n"
        )
        (folder / ".gitignore").write_text(".ratchet/\n__pycache__/\n")
        self.git("init", "--quiet")
        self.commit()

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "--quiet", "--allow-empty", "-m", "as it is")
        return self.git("rev-parse", "HEAD")

    def ratchet(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([RATCHET, *arguments], cwd=self.folder, capture_output=True, text=True)

    def run(self, *arguments: str) -> dict[str, Any]:
        done = self.ratchet("run", "--json", *arguments)
        assert done.stdout, done.stderr
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome

    def asked(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        done = self.ratchet("model", *arguments, "--json")
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def state(self) -> dict[str, bytes]:
        """All that runs left."""
        home = self.folder / ".ratchet"
        return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("cells") / "my own python3 cälls")
    yield project
    project.ratchet("stop")


def test_1_what_made_a_version_is_kept_with_the_commit(project: Project) -> None:
    outcome = project.run()
    assert outcome["outcome"] == "promoted", outcome["reason"]
    code, traced = project.asked("trace")
    lineage = traced["lineage"]
    assert code == 0 and traced["version"] == "1" and traced["champion"][0]["until"] is None
    assert lineage["provenance"]["commit"] == project.git("rev-parse", "HEAD")
    assert lineage["provenance"]["dirty"] is False, project.git("status", "--porcelain")
    ran = Path(outcome["folder"], "pipeline.yaml")
    digest = subprocess.run(["sha256sum", ran], capture_output=True, text=True, check=True).stdout.split()[0]
    assert lineage["provenance"]["yaml_digest"] == f"sha256:{digest}"
    steps = ["ingest", "validate", "prepare", "tune", "train", "evaluate", "gate"]
    assert [made["step"] for made in lineage["steps"]] == steps
    assert [file["path"] for file in traced["files"]["rows"]] == ["cells.parquet"]
    assert lineage["steps"][4]["environment"]["processor"] and lineage["seed"] == 0
    commit = lineage["provenance"]["commit"]
    assert commit in Path(outcome["report"]).read_text(), "the run's report does not say the commit"


def test_2_the_chain_of_a_second_run_leads_through_the_cache(project: Project) -> None:
    (project.folder / "notes.md").write_text("not committed")
    outcome = project.run("-p", "seed=3")
    assert outcome["version"] == "2", outcome["reason"]
    _, traced = project.asked("trace", "2")
    lineage = traced["lineage"]
    made = {item["step"]: item["run"] for item in lineage["steps"]}
    first = project.asked("trace", "1")[1]["lineage"]["run"]
    assert made["ingest"] == made["validate"] == made["prepare"] == first != lineage["run"]
    assert made["train"] == made["gate"] == lineage["run"]
    assert lineage["provenance"]["dirty"] is True
    assert f"from the cache: made by {first}" in project.ratchet("model", "trace", "2").stdout
    (project.folder / "notes.md").unlink()


@pytest.mark.parametrize(("version", "differ"), [("1", set()), ("2", {"commit"})])
def test_3_a_version_comes_out_again_byte_for_byte_and_nothing_else_changes(
    project: Project, version: str, differ: set[str]
) -> None:
    before = project.state()
    code, told = project.asked("reproduce", version)
    assert (code, told["agrees"], told["same_bytes"], told["difference"]) == (0, True, True, 0.0)
    assert told["rows"] > 50 and told["tolerance"] == 0
    assert set(told["differences"]) == differ, "what was not committed for v2 is no longer there"
    assert project.state() == before


def test_4_what_was_made_can_be_kept(project: Project, tmp_path: Path) -> None:
    kept = tmp_path / "again"
    done = project.ratchet("model", "reproduce", "cells", "1", "--keep", str(kept))
    assert done.returncode == 0, done.stderr
    assert "Reproduced  cells v1: the same bytes, and the same scores" in done.stdout
    assert (kept / "remade" / "train" / "model" / "ratchet.json").exists()
    again = project.ratchet("model", "reproduce", "1", "--keep", str(kept))
    assert again.returncode == 2 and "is there already" in again.stderr


def test_5_other_code_is_named_and_so_is_what_it_changes(project: Project) -> None:
    before = project.git("rev-parse", "HEAD")
    workload, recipe = project.folder / "workload.py", project.folder / "recipe.py"
    kept = workload.read_text()
    workload.write_text(kept.replace("default=0.1, gt=0", "default=0.3, gt=0"))
    recipe.write_text(f"# looked at again\n{RECIPE}")
    code, told = project.asked("reproduce", "1")
    assert (code, told["agrees"], told["same_bytes"]) == (1, False, False) and told["difference"] > 1e-3
    assert set(told["differences"]) == {"commit", "source of the workload", "source of the recipe"}
    assert told["differences"]["commit"]["now"] == f"{before} and changes that were not committed"
    code, told = project.asked("reproduce", "1", "--tolerance", "1")
    assert (code, told["agrees"], told["same_bytes"]) == (0, True, False)
    recipe.write_text("def rows(tables):\n    return tables['rows'].filter(pl.col('id') > 0)\n")
    done = project.ratchet("model", "reproduce", "1")
    assert done.returncode == 3 and "name 'pl' is not defined" in done.stderr
    workload.write_text(kept)
    recipe.write_text(RECIPE)


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_6_data_that_is_not_what_it_was_is_named(project: Project, damage: str) -> None:
    file = project.folder / "cells.parquet"
    kept, before = file.read_bytes(), project.state()
    if damage == "changed":
        pl.read_parquet(file).with_columns(pl.col("mean radius") + 1).write_parquet(file)
    else:
        file.unlink()
    done = project.ratchet("model", "reproduce", "1")
    assert done.returncode == 3 and "cells.parquet" in done.stderr and "bring back the data" in done.stderr
    assert project.state() == before
    file.write_bytes(kept)


def test_7_evidence_that_is_gone_leaves_the_bytes_to_compare(project: Project) -> None:
    evidence, away = project.folder / ".ratchet/store/evidence", project.folder / "away"
    evidence.rename(away)
    code, told = project.asked("reproduce", "1")
    assert (code, told["same_bytes"], told["difference"]) == (0, True, None) and "no evidence" in told["not_compared"]
    away.rename(evidence)


def test_8_a_chain_with_a_gap_is_not_made_up(project: Project) -> None:
    file = project.folder / ".ratchet/store/lineage/cells/1.json"
    kept = file.read_text()
    lineage = json.loads(kept)
    lineage["steps"] = [made for made in lineage["steps"] if made["step"] != "validate"]
    file.write_text(json.dumps(lineage))
    done = project.ratchet("model", "reproduce", "1")
    assert done.returncode == 2 and "of the step validate" in done.stderr and "nothing is known" in done.stderr
    file.unlink()
    done = project.ratchet("model", "reproduce", "1")
    assert done.returncode == 2 and "no lineage of version 1" in done.stderr
    file.write_text(kept)


def test_a_version_comes_out_again_from_objects_that_were_overwritten_since(bucket: str, tmp_path: Path) -> None:
    """A bucket with versions keeps what was pinned; the trace names the version, and leads from it to the model."""
    import boto3

    client, name = boto3.client("s3"), bucket.removeprefix("s3://")
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    project = Project(tmp_path / "cells", f"{bucket}/raw")
    data = project.folder / "cells.parquet"
    then = client.put_object(Bucket=name, Key="raw/cells.parquet", Body=data.read_bytes())["VersionId"]
    try:
        outcome = project.run()
        assert outcome["outcome"] == "promoted", outcome["reason"]
        now = client.put_object(Bucket=name, Key="raw/cells.parquet", Body=b"overwritten")["VersionId"]
        (file,) = project.asked("trace")[1]["files"]["rows"]
        assert (file["path"], file["version"]) == ("cells.parquet", f"version:{then}")
        for what, seen in ((then, ["1"]), (f"{bucket}/raw/cells.parquet", ["1"]), (now, [])):
            code, told = project.asked("trace", "--data", what)
            assert (code, [one["version"] for one in told["seen"]]) == (0 if seen else 1, seen)
        code, told = project.asked("reproduce", "1")
        assert (code, told["same_bytes"], told["difference"]) == (0, True, 0.0)
        client.delete_object(Bucket=name, Key="raw/cells.parquet", VersionId=then)
        done = project.ratchet("model", "reproduce", "1")
        assert done.returncode != 0 and "cells.parquet" in done.stderr
    finally:
        project.ratchet("stop")
