"""The table of all rules: ATen overload to the function that builds its `nn` ops.

A rule is called as the overload itself, after the builder: tensors are SSA values,
lists of tensors are lists of them, everything else is as in the fx graph. It returns
a value, or a tuple with one entry per result (None for one that `nn` cannot make).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgec.importer import (
    aten_activation,
    aten_conv,
    aten_elementwise,
    aten_matmul,
    aten_norm,
    aten_pool,
    aten_quantized,
    aten_recurrent,
    aten_reduce,
    aten_resize,
    aten_shape,
    aten_tensor,
)


@dataclass(frozen=True)
class Rule:
    """How one overload is imported."""

    build: Callable[..., Any]
    any_type: bool = False
    """Whether int64 operands are fine, too."""
    converts: bool = False
    """Whether constants of any dtype may stand for their float32 values."""
    fresh: bool = False
    """Whether the result never shares memory with an operand."""
    quantized: bool = False
    """Whether operands and results may be quantized; constants come as tensors."""
    weighted: bool = False
    """Whether a weight that is stored in integers stays so: `sq.dequantize`."""


def _rules(table: Mapping[str, Callable[..., Any]], **flags: bool) -> dict[str, Rule]:
    return {f"aten.{name}": Rule(build, **flags) for name, build in table.items()}


TABLE: dict[str, Rule] = {
    **_rules(aten_activation.RULES, fresh=True),
    **_rules(aten_conv.RULES, fresh=True, weighted=True),
    **_rules(aten_elementwise.RULES, converts=True, fresh=True),
    **_rules(aten_matmul.RULES, fresh=True, weighted=True),
    **_rules(aten_norm.RULES, fresh=True),
    **_rules(aten_pool.RULES),
    **_rules(aten_recurrent.RULES, fresh=True, weighted=True),
    **_rules(aten_reduce.RULES),
    **_rules(aten_resize.RULES),
    **_rules(aten_shape.RULES, any_type=True),
    **_rules(aten_tensor.RULES, any_type=True),
    **{
        f"quantized_decomposed.{name}": Rule(build, fresh=True, quantized=True)
        for name, build in aten_quantized.RULES.items()
    },
}
"""`aten.relu.default` and so on to rules."""

IGNORED = frozenset(
    {
        "aten._assert_tensor_metadata.default",
        "aten._assert_async.msg",
        "aten._assert_scalar.default",
    }
)
"""Checks that hold for the shapes and dtypes of the example; they make no op."""


def functional_name(name: str) -> str:
    """`aten.relu.default` for `aten.relu_.default`; other names are unchanged."""
    namespace, op, overload = [*name.split("."), "", ""][:3]
    if op.endswith("_") and not op.endswith("__"):
        return f"{namespace}.{op[:-1]}.{overload}"
    return name
