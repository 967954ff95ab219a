"""A folder with a pipelines.yaml and small compiled pipelines, and what apply and diff make of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kfp_ratchet.pipelines.declared import load_declared
from kfp_ratchet.pipelines.server.apply import Applied, apply, undeletable
from kfp_ratchet.pipelines.server.plan import Plan, plan
from kfp_ratchet.pipelines.server.sides import both_sides

NIGHTLY = {"cron": "0 3 * * *", "experiment": "flights"}


def spec(word: str, **more: Any) -> dict[str, Any]:
    """A pipeline of one step; another word is another content."""
    step = {"container": {"image": "python:3.11", "command": ["echo", word]}}
    return {
        "pipelineInfo": {"name": "greet", "description": "Says a word."},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "deploymentSpec": {"executors": {"exec-say": step}},
        "components": {"comp-say": {"executorLabel": "exec-say"}},
        "root": {
            "dag": {"tasks": {"say": {"componentRef": {"name": "comp-say"}, "taskInfo": {"name": "say"}}}},
            "inputDefinitions": {"parameters": {"trials": {"parameterType": "NUMBER_INTEGER", "defaultValue": 10}}},
        },
        **more,
    }


@dataclass
class Project:
    """What is declared; change it and apply again."""

    folder: Path
    name: str = "delays"
    pipelines: dict[str, dict[str, Any]] = field(default_factory=dict)
    experiments: dict[str, str] = field(default_factory=lambda: {"flights": "Delays"})

    def write(self) -> Path:
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "pipelines.yaml"
        path.write_text(
            yaml.safe_dump(
                {"name": self.name, "experiments": self.experiments, "pipelines": self.pipelines}, sort_keys=False
            )
        )
        return path

    def pipeline(self, name: str, word: str = "hello", schedules: dict[str, Any] | None = None, **more: Any) -> None:
        """Declare a pipeline."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(spec(word)))
        self.pipelines[name] = {"pipeline": f"{name}.yaml", "schedules": schedules or {}, **more}

    def sides(self, server, adopt=()):
        return both_sides(load_declared(self.write()), server, adopt=adopt)

    def plan(self, server, adopt=()) -> Plan:
        sides = self.sides(server, adopt)
        return plan(sides, lambda: undeletable(server, sides.snapshot.schedules, sides))

    def apply(self, server, prune=False, adopt=()) -> Applied:
        return apply(server, self.sides(server, adopt), prune)

    def actions(self, server, adopt=()) -> list[tuple[str, str, str]]:
        """Kind, name and action of each difference."""
        return [(one.kind, one.name, one.action) for one in self.plan(server, adopt).differences]
