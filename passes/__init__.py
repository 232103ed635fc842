"""The passes of edgec, one per file, and the table that finds them by name.

Nothing is imported until a pass is asked for: `from edgec.passes import PlanMemory` and
`get_pass("plan-memory")` both import one file.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdsl.passes import ModulePass

if __name__ == "passes":
    raise ImportError("import this package as 'edgec.passes'")

NAMES = (
    "canonicalize-nn",
    "choose-kernel",
    "convert-to-lane",
    "decompose-conv-transpose",
    "decompose-quantization",
    "eliminate-data-movement",
    "encode-sparsity",
    "filter-kernel-reorder",
    "flatten-rows",
    "fold-batch-norm",
    "fuse",
    "fuse-pooling",
    "integer-layers",
    "layout-tuning",
    "load-redundancy-elimination",
    "lower-precision",
    "plan-memory",
    "propagate-permutation",
    "propagate-quantization",
    "rewrite-algebra",
    "shrink-channels",
    "sparse-linear",
    "weight-only",
)
"""All passes, sorted. File and class follow from the name: see `_target`."""


def _target(name: str) -> str:
    """Where the pass is: `plan-memory` is `edgec.passes.plan_memory:PlanMemory`."""
    words = name.split("-")
    class_name = "".join(word.capitalize() for word in words)
    return f"edgec.passes.{'_'.join(words)}:{class_name}"


PASSES: dict[str, str] = {name: _target(name) for name in NAMES}
"""Pass name → `module:Class`."""

_CLASSES = {target.partition(":")[2]: name for name, target in PASSES.items()}


def get_pass(name: str) -> type[ModulePass]:
    """The class of the pass `name`, imported now.

    Raises `InvalidInput` when no pass has that name.
    """
    if name not in PASSES:
        from edgec.errors import InvalidInput

        raise InvalidInput(f"no pass named '{name}'; known are {', '.join(PASSES)}")
    module, _, class_name = PASSES[name].partition(":")
    return getattr(import_module(module), class_name)


def get_factories() -> dict[str, Callable[[], type[ModulePass]]]:
    """Pass name → function that imports and returns the class, as xDSL wants them."""

    def factory(name: str) -> Callable[[], type[ModulePass]]:
        return lambda: get_pass(name)

    return {name: factory(name) for name in PASSES}


def __getattr__(name: str) -> type[ModulePass]:
    if name in _CLASSES:
        return get_pass(_CLASSES[name])
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_CLASSES])
