"""Command-line options made from the settings, so that a setting is written down once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from clipsearch.settings import ENV_PREFIX, Settings

Command = TypeVar("Command", bound=Callable[..., Any])


def settings_options(command: Command) -> Command:
    """Add one option per setting. Options not given arrive as None, so that environment and file can speak."""
    for name, field in reversed(Settings.model_fields.items()):
        default = "required" if field.is_required() else "none" if field.default is None else str(field.default)
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            flag += f"/--no-{name.replace('_', '-')}"
        option = click.option(
            flag,
            name,
            type=_type(field.annotation),
            default=None,
            help=f"{field.description} [{ENV_PREFIX}{name.upper()}; default: {default}]",
        )
        command = option(command)
    return command


def _type(annotation: Any) -> click.ParamType[Any] | type:
    """The click type that parses a flag; pydantic does the checking."""
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    if annotation in {bool, int, float}:
        return annotation  # type: ignore[no-any-return]
    if annotation in {Path, Path | None}:
        return click.Path(path_type=Path)
    return str
