"""Keeps the last result of each benchmark in RESULTS.md."""

import re
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"


def keep(script: str, text: str) -> None:
    """Print a result and replace the script's section of RESULTS.md with it."""
    print(text)
    present = RESULTS.read_text() if RESULTS.exists() else "# Results\n\nThe last run of each script in this folder.\n"
    section = f"## {script}\n\n{text}\n"
    pattern = rf"^## {re.escape(script)}\n.*?(?=^## |\Z)"
    if re.search(pattern, present, re.MULTILINE | re.DOTALL):
        present = re.sub(pattern, lambda _: section + "\n", present, flags=re.MULTILINE | re.DOTALL)
    else:
        present = present.rstrip() + "\n\n" + section
    RESULTS.write_text(present.rstrip() + "\n")
