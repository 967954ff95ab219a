"""How commands show themselves in help, and the errors of whoever mistypes one."""

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# Typer brings a Click of its own, or uses the installed one: the parent of an exception that it exports is the same in both.
UsageError: Any = typer.BadParameter.__bases__[0]


class Command(TyperCommand):
    """A command whose switches are shown without a type: `--json`, not `--json <bool>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters, `--help` among them."""
        return _without_type(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands that does the same."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters, `--help` among them."""
        return _without_type(super().get_params(ctx))


def _without_type(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters
