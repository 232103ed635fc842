"""The base class of every pass: a pass that says what it did.

A pass is a frozen dataclass whose fields are its options. It is a function of the
module, the weights in the context and those options: it reads no clock, no environment
and no random numbers, so that the same input gives the same bytes.
"""

from __future__ import annotations

import inspect
import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass


@dataclass(frozen=True)
class ReportingPass(ModulePass):
    """A module pass that returns statistics.

    Subclasses are frozen dataclasses, set `name` and define `run`. The class docstring
    shows the pass at work in two MLIR blocks headed **Before** and **After**; a test
    runs them.
    """

    idempotent: ClassVar[bool] = True
    """Whether a second run leaves the module as it is. A test holds passes to it."""

    example_after: ClassVar[tuple[str, ...]] = ()
    """Names of passes that make the docstring's Before ready for this one, where text
    cannot show its arrays."""

    @abstractmethod
    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Rewrite `op` in place and return counts of what was done, by name.

        The names are the same for every module; a count of nothing is 0, not absent.
        The module verifies before and after. Raises an `EdgecError` when the module or
        an option does not fit the pass.
        """

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place, as xDSL's own passes do; the statistics are lost."""
        self.run(ctx, op)


def run_pass(pass_: ModulePass, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
    """Run any pass and return its statistics; upstream passes have none."""
    if isinstance(pass_, ReportingPass):
        return pass_.run(ctx, op)
    pass_.apply(ctx, op)
    return {}


class Example(NamedTuple):
    """One rewrite from a pass's docstring, as MLIR text."""

    before: str
    after: str


_BLOCK = re.compile(
    r"\*\*(?P<side>Before|After)\*\*:?\s*\n\s*```mlir\n(?P<text>.*?)\n\s*```", re.DOTALL
)


def examples_of(pass_class: type[ModulePass]) -> tuple[Example, ...]:
    """The examples in the docstring of a pass, in order.

    Each is a block headed **Before** followed by one headed **After**, both fenced as
    `mlir`. Raises `ValueError` when the blocks do not come in such pairs.
    """
    doc = inspect.cleandoc(pass_class.__doc__ or "")
    blocks = [(match["side"], match["text"]) for match in _BLOCK.finditer(doc)]
    sides = [side for side, _ in blocks]
    if sides != ["Before", "After"] * (len(sides) // 2):
        raise ValueError(
            f"the examples of pass '{pass_class.name}' must be pairs of Before and "
            f"After, got {sides}"
        )
    texts = [text for _, text in blocks]
    return tuple(map(Example, texts[::2], texts[1::2]))
