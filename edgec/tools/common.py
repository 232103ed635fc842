"""Options that several commands of `edgec` have."""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgec.errors import InvalidTarget
from edgec.target import MAX_THREADS

DEBUG = "edgec.debug"


class NumberRange(click.FloatRange):
    """Numbers in a range; unlike `FloatRange`, NaN is in none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number; raises `BadParameter`."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param)
        return number


def _set_debug(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[DEBUG] = True


def debug_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option `--debug`."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_set_debug,
        help="Show the traceback of an error.",
    )(command)


def _check_target(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    from edgec.target import Target

    try:
        if value != "native":
            Target.parse(value)
    except InvalidTarget as error:
        raise click.BadParameter(str(error)) from error
    return value


target_option = click.option(
    "--target",
    default="native",
    show_default=True,
    callback=_check_target,
    help="Machine to compile for: native, x86-64-v3, x86-64-v4, generic, …",
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(1, MAX_THREADS),
    help="Threads per call; default: as many as the process may use.",
)
PATH = click.Path(path_type=Path)


def quiet_torch() -> None:
    """Keep torch's own log out of the way of our messages; `--debug` shows it."""
    importlib.import_module("torch")  # which sets its loggers up
    if not click.get_current_context().meta.get(DEBUG):
        logging.getLogger("torch").setLevel(logging.CRITICAL)
