"""Whether a file can be written, asked before the work whose result goes there."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import click


def check_output(
    path: Path,
    option: str,
    model: Path,
    *,
    is_replaced: bool = False,
    suffix: str = "",
) -> None:
    """Raise `BadParameter` for `option` unless `path` can be written.

    It must not be the input `model` itself, under whatever name. `is_replaced` says
    that a file is written beside it and moved there; else it is written in place. Its
    name must end in `suffix`, by which commands know what a file holds.
    """
    try:
        if not path.absolute().parent.is_dir():
            raise _wrong(option, f"'{path.parent}' is not a folder")
        if path.is_dir():
            raise _wrong(option, f"'{path}' is a folder; give the name of a file")
        if suffix and path.suffix != suffix:
            found = f"ends in '{path.suffix}'" if path.suffix else "has no suffix"
            raise _wrong(option, f"'{path}' {found}; the name must end in '{suffix}'")
        if path.exists() and model.exists() and path.samefile(model):
            raise _wrong(
                option, f"'{path}' is the input '{model}' itself; give another file"
            )
        _try(path, is_replaced)
    except OSError as error:
        reason = f"'{path}' cannot be written: {error.strerror}"
        raise _wrong(option, reason) from error


def _try(path: Path, is_replaced: bool) -> None:
    """Raise `OSError` if `path` cannot be written, and leave nothing behind."""
    if path.exists() and not (is_replaced and path.is_file()):
        if not os.access(path, os.W_OK):  # opening a pipe would wait for its reader
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return
    # A link may point at what is not there yet. Rights alone do not say it: a file
    # system may be read-only, or take no files at all.
    with tempfile.TemporaryFile(dir=path.resolve().parent):
        pass


def _wrong(option: str, reason: str) -> click.BadParameter:
    return click.BadParameter(reason, param_hint=option)
