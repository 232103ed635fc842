"""Epilogues: the steps that a kernel applies to a value before it stores it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.ir import SSAValue

from edgec.dialects.sq import Step
from edgec.kernels.builder import KernelBuilder


def apply_steps(
    b: KernelBuilder,
    value: SSAValue,
    steps: Sequence[Step],
    load_extra: Callable[[int], SSAValue],
) -> SSAValue:
    """`value` (a vector or scalar) after all steps.

    `load_extra(k)` gives the lanes of extra operand `k` that belong to `value`.
    """
    for step in steps:
        if step.operand < 0:
            value = b.unary(step.kind, value, step.params)
            continue
        other = load_extra(step.operand)
        lhs, rhs = (other, value) if step.swap else (value, other)
        value = b.binary(step.kind, lhs, rhs)
    return value
