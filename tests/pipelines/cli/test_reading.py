"""Commands that only look: they leave nothing behind and name what is not there."""

import pytest


@pytest.mark.parametrize(
    "arguments", [("status",), ("status", "--start"), ("model", "history"), ("model", "live"), ("model", "rollback"), ("stop",)]
)  # fmt: skip
def test_looking_at_a_fresh_project_left_an_empty_store(project, arguments):
    before = sorted(project.folder.rglob("*"))
    assert "Traceback" not in project.ratchet(*arguments).stderr
    assert sorted(project.folder.rglob("*")) == before


@pytest.mark.parametrize("verb", ["history", "live", "rollback"])
def test_a_misspelt_model_looked_like_one_without_history(project, verb):
    done = project.ratchet("model", verb, "mien")
    assert done.returncode == 2
    assert "has no model 'mien'" in done.stderr and "did you mean 'mine'?" in done.stderr


def test_a_folder_named_with_style_tags_lost_them_on_the_terminal(project):
    """rich took `[b]` in a path for bold."""
    folder = project.folder / "new[b]"
    folder.mkdir()
    (project.folder / "table.csv").write_text("id,y\n" + "".join(f"{row},{row % 2}\n" for row in range(60)))
    done = project.ratchet("init", "table.csv", "--target", "y", "--folder", "new[b]")
    assert done.returncode == 0, done.stderr
    assert "new[b]/ratchet.yaml written" in done.stdout
