"""The key of a fit: trials and checkpoints are gone on with only by the very same code."""

import sys

import pytest

from kfp_ratchet.components.train.provenance import fit_key
from kfp_ratchet.components.train.rows import read_fit_rows

MINE = "import helper\nclass Mine:\n    search_space = fit = predict = save = load = lambda self: 0\n"


@pytest.mark.parametrize("edited", ["mine.py", "helper.py"])
def test_an_edit_of_what_the_workload_imports_left_the_key_of_its_study_as_it_was(
    dataset, tmp_path, monkeypatch, edited
):
    code = tmp_path / "code"
    code.mkdir()
    (code / "mine.py").write_text(MINE)
    (code / "helper.py").write_text("")
    monkeypatch.syspath_prepend(code)
    data = read_fit_rows(*dataset)
    before = fit_key(data, "mine:Mine", 0, "cpu")
    assert fit_key(data, "mine:Mine", 0, "cpu") == before
    with (code / edited).open("a") as file:
        file.write("# edited\n")
    assert fit_key(data, "mine:Mine", 0, "cpu") != before
    for module in ("mine", "helper"):
        del sys.modules[module]
