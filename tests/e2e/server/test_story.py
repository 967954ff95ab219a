"""The story of the docs is lived through again, and is still true."""

import difflib

import pytest
from story import PAGE, tell


@pytest.mark.slow
def test_the_story_in_the_docs_is_what_happens(tmp_path):
    told, kept = tell(tmp_path), PAGE.read_text()
    differs = "\n".join(difflib.unified_diff(kept.splitlines(), told.splitlines(), str(PAGE), "told now", lineterm=""))
    assert not differs, f"{differs}\nrun `make story` if it should be so"
