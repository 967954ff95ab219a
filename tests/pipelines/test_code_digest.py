"""The digest of the code that local runs are cached under: an edit of anything that a step may run must give another."""

from pathlib import Path

import pytest

from kfp_ratchet.pipelines.project import Project
from kfp_ratchet.pipelines.runner import code_digest

CONFIG = "name: mine\nsource: data\nschema: schema.yaml\nprepare: {function: 'features:prepare'}\ncolumns: {target: y, problem: binary}\n"
LATER = {"workload": "mylib.models:Boost", "policy": '{"metric":"metrics_of_mine:profit"}'}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, and code of its user's that is installed elsewhere."""
    files = {
        "project/ratchet.yaml": CONFIG,
        "project/schema.yaml": "",
        "project/features.py": "",
        "project/inner/helper.py": "",
        "project/notes.txt": "",
        "project/env/pyvenv.cfg": "",
        "project/env/x.py": "",
        "elsewhere/mylib/__init__.py": "",
        "elsewhere/mylib/models.py": "",
        "elsewhere/mylib/trees.py": "",
        "elsewhere/metrics_of_mine.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    return tmp_path


@pytest.mark.parametrize(
    ("edited", "counts"),
    [
        ("project/features.py", True),
        ("project/inner/helper.py", True),
        ("project/new.py", True),
        ("elsewhere/mylib/models.py", True),
        ("elsewhere/mylib/trees.py", True),
        ("elsewhere/metrics_of_mine.py", True),
        ("project/notes.txt", False),
        ("project/env/x.py", False),
    ],
)
def test_an_edit_gives_another_digest(places: Path, edited: str, counts: bool) -> None:
    """Of a package that a parameter names, also modules that only the named one imports."""
    project = Project.open(places / "project" / "ratchet.yaml")
    before = code_digest(project, LATER)
    assert code_digest(project, LATER) == before
    (places / edited).write_text("# edited\n")
    assert (code_digest(project, LATER) != before) == counts


def test_another_version_of_a_library_gives_another_digest(places: Path) -> None:
    """On a cluster the image would be another one."""
    project = Project.open(places / "project" / "ratchet.yaml")
    before = code_digest(project, {})
    for version, same in (("1.0", False), ("1.1", False)):
        folder = places / "elsewhere" / "mylib-1.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mylib\nVersion: {version}\n")
        now = code_digest(project, {})
        assert (now == before) == same
        before = now
