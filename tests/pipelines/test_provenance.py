"""The commit of the project that a run is started from, and whether the project was as it says."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from kfp_ratchet.pipelines.provenance import parameter, provenance


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a folder of a repository."""
    folder = tmp_path / "work" / "my pröject"
    folder.mkdir(parents=True)
    (folder / "ratchet.yaml").write_text("name: mine\n")
    (folder / ".gitignore").write_text("data/\n")
    git(tmp_path / "work", "init", "--quiet")
    git(tmp_path / "work", "add", "-A")
    git(tmp_path / "work", "commit", "--quiet", "-m", "first")
    return folder


def test_a_clean_project(project):
    assert provenance(project) == {"commit": git(project, "rev-parse", "HEAD"), "dirty": False}


@pytest.mark.parametrize(
    ("path", "dirty"),
    [
        ("ratchet.yaml", True),
        ("features.sql", True),
        ("data/rows.csv", False),
        (".ratchet/store/ledger/mine/000001.json", False),
        ("../elsewhere.txt", False),
    ],
)
def test_what_makes_a_project_dirty(project, path, dirty):
    file = project / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("changed\n")
    assert provenance(project)["dirty"] is dirty


def test_a_staged_change_counts(project):
    (project / "ratchet.yaml").write_text("name: other\n")
    git(project, "add", "-A")
    assert provenance(project)["dirty"] is True


def test_a_folder_without_git_is_neither_clean_nor_dirty(tmp_path):
    assert provenance(tmp_path) == {}


def test_a_repository_without_a_commit(tmp_path):
    git(tmp_path, "init", "--quiet")
    assert provenance(tmp_path) == {}


def test_a_folder_that_the_repository_around_it_ignores_has_no_commit(project):
    (project / "data" / "inner").mkdir(parents=True)
    assert provenance(project / "data" / "inner") == {}


def test_no_git_at_all(project, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert provenance(project) == {}


def test_a_hook_of_another_repository_that_led_astray(project, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert provenance(project)["commit"]


def test_a_program_that_a_repository_names_is_not_started(project, tmp_path):
    mark, script = tmp_path / "mark", tmp_path / "monitor"
    script.write_text(f"#!/bin/sh\ntouch {mark}\n")
    script.chmod(0o755)
    git(project, "config", "core.fsmonitor", str(script))
    (project / "ratchet.yaml").write_text("name: other\n")
    assert provenance(project)["dirty"] is True
    assert not mark.exists()


def test_a_token_in_the_address_of_the_remote(project):
    git(project, "remote", "add", "origin", "https://ann:hunter2@git.example/a/b.git")
    told = provenance(project)
    assert told["repository"] == "https://git.example/a/b.git"
    assert "hunter2" not in parameter(told, "sha256:y")


def test_the_parameter_is_one_line_that_register_reads(project):
    from kfp_ratchet.components.shared.lineage import Provenance

    text = parameter(provenance(project), "sha256:y")
    assert "\n" not in text and json.loads(text)["yaml_digest"] == "sha256:y"
    assert Provenance.model_validate_json(text).dirty is False


def test_looking_changes_nothing(project):
    index = Path(git(project, "rev-parse", "--absolute-git-dir"), "index")
    os.utime(project / "ratchet.yaml")  # what makes `git status` write the index anew
    before = index.stat().st_mtime_ns
    provenance(project)
    assert index.stat().st_mtime_ns == before
