"""Errors that edgec raises for its users.

    EdgecError                     anything below
    ├── ImportFailed               a model that cannot be read into the `nn` dialect
    ├── InvalidInput               a tensor or option that does not fit (ValueError too)
    ├── InvalidTarget              a target name or feature nobody knows
    ├── PassFailed                 a pass or the verifier after it found a mistake
    ├── CodegenFailed              LLVM refused what we emitted
    └── InvalidArtefact            a file on disk that is damaged or of another version

Every message names the thing, what was found and what is allowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_LISTED = 8
"""Names in a message."""


class EdgecError(Exception):
    """Base of all errors that edgec raises on purpose."""


class ImportFailed(EdgecError):
    """The model cannot be imported; lists every reason at once."""


class InvalidInput(EdgecError, ValueError):
    """An argument, option or tensor has the wrong shape, type or value."""


class InvalidTarget(EdgecError, ValueError):
    """A target description cannot be understood."""


class PassFailed(EdgecError):
    """A pass failed or left IR that does not verify; names the pass."""


class CodegenFailed(EdgecError):
    """LLVM refused the emitted program."""


class InvalidArtefact(EdgecError):
    """A stored file is damaged, foreign or of another version."""


def some_of(names: Sequence[str]) -> str:
    """The first few, and how many more there are, for a message."""
    more = len(names) - MOST_LISTED
    return f"{list(names[:MOST_LISTED])}" + (f" and {more} more" if more > 0 else "")
