"""Slow tests come last, so that failures show early."""

import os
import sys

import pytest

# As on a user's machine: what Python writes beside a script, and what it still holds back when it ends, are part of what is tested.
for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
    os.environ.pop(name, None)
sys.dont_write_bytecode = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
