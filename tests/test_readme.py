"""The README is the first thing that a user runs."""

import re
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_its_links_lead_somewhere() -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_its_pipeline_compiles(tmp_path: Path) -> None:
    @dsl.component
    def my_evaluation(evidence: dsl.Output[dsl.Artifact]):  # type: ignore[no-untyped-def]
        pass

    @dsl.component
    def my_deployment():  # type: ignore[no-untyped-def]
        pass

    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {"my_evaluation": my_evaluation, "my_deployment": my_deployment}
    exec(compile(code, "README.md", "exec"), names)
    compiler.Compiler().compile(names["mine"], str(tmp_path / "mine.yaml"))


def test_its_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z0-9-]+)", README)) <= targets
