"""What ops on bfloat16 tensors ask of their types.

Activations between layers may hold bf16. A product of them takes its weight and bias in
float32, and rounds the weight to bfloat16 itself, so that every encoding of weights
serves as it is; sums and steps are float32.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import bf16, f32
from xdsl.ir import Operation, SSAValue
from xdsl.utils.exceptions import VerifyException

from edgec.dialects.nn import tensor_type
from edgec.dialects.sq.quant import require_float


def has_bf16(*values: SSAValue) -> bool:
    """Whether any of the tensors holds bfloat16."""
    return any(tensor_type(value).element_type == bf16 for value in values)


def verify_bf16_product(
    op: Operation,
    weight: SSAValue,
    bias: SSAValue | None,
    extras: Sequence[SSAValue],
) -> None:
    """A product of a bf16 input: all else is float32 or, but for the weight, bf16."""
    require_float(op, weight, "weight of a bf16 input")
    if bias is not None:
        require_float(op, bias, "bias")
    named = [(f"extra operand {k}", value) for k, value in enumerate(extras)]
    for what, value in (*named, ("result", op.results[0])):
        found = tensor_type(value).element_type
        if found not in (bf16, f32):
            raise VerifyException(
                f"'{op.name}' op {what} must hold f32 or bf16, got {found}"
            )
