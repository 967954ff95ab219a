"""Which source is running: what an edit of must make a step run again."""

import pytest

from kfp_ratchet.components.shared.source import module_files, python_files


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A project: a module of its own beside a helper, a package, and what is none of its code."""
    for name in (
        "mine.py",
        "helper.py",
        "package/__init__.py",
        "package/deep/model.py",
        ".venv/lib/x.py",
        "env/lib/y.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    (tmp_path / "data.csv").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def names(paths, folder):
    return {path.relative_to(folder).as_posix() for path in paths}


def test_virtual_environments_and_hidden_folders_are_no_code_of_a_project(code):
    assert names(python_files(code), code) == {"mine.py", "helper.py", "package/__init__.py", "package/deep/model.py"}


def test_a_module_takes_code_from_its_package_or_from_what_lies_beside_it(code):
    assert names(module_files("package.deep.model"), code) == {"package/__init__.py", "package/deep/model.py"}
    assert "helper.py" in names(module_files("mine"), code)


def test_of_an_installed_module_only_its_file_counts():
    assert [path.name for path in module_files("typing_extensions")] == ["typing_extensions.py"]
    assert [path.name for path in module_files("this")] == ["this.py"]


@pytest.mark.parametrize("name", ["sys", "no_such_module", "no.such.module"])
def test_a_module_without_files_has_none(name):
    assert module_files(name) == []
