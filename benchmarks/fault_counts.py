"""How often register and deploy were killed, and what was wrong afterwards: runs tests/crash and keeps its counts.

`python benchmarks/fault_counts.py [REPORT.xml ...]`: with JUnit reports of tests/crash, keeps what those say instead of running it.
"""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from results import keep

ROOT = Path(__file__).parent.parent
KILLS = "kill -9"


def main() -> None:
    if reports := [Path(name) for name in sys.argv[1:]]:
        keep("fault_counts.py", table(counts_of(reports)))
        return
    with TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "slow", f"--junitxml={report}", "tests/crash"], cwd=ROOT
        )
        keep("fault_counts.py", table(counts_of([report])))
    sys.exit(done.returncode)


def counts_of(reports: list[Path]) -> dict[str, dict[str, int]]:
    found: dict[str, Any] = {}
    for report in reports:
        for item in ElementTree.parse(report).getroot().iter("property"):
            found[item.attrib["name"]] = json.loads(item.attrib["value"])
    return found


def table(counts: dict[str, dict[str, int]]) -> str:
    points = {name: count for name, count in counts.items() if name != KILLS}
    cases = sum(count["cases"] for count in points.values())
    wrong = sum(count["violations"] for count in counts.values())
    kills = counts[KILLS]
    return "\n".join(
        [
            f"{cases:,} crash points in process and {kills['cases']} real `kill -9`: {wrong} violations.",
            "",
            "A case: die just before or just after one write; then the same is repeated, another run does the same, another model "
            "comes first, or nobody repeats it and `ratchet status --start` is called.",
            "",
            "| killed during | writes | cases | violations |",
            "|---|---|---|---|",
            *(f"| {name} | {one['writes']} | {one['cases']} | {one['violations']} |" for name, one in points.items()),
            f"| register and deploy with real servers, at any instant | - | {kills['cases']} | {kills['violations']} |",
        ]
    )


if __name__ == "__main__":
    main()
