"""Rules for ops that change no value, for casts, and for filled tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from xdsl.ir import SSAValue

from edgec.importer.builder import Builder, Scalar
from edgec.importer.problems import Unsupported


def _same(b: Builder, self: SSAValue, *rest: object, **more: object) -> SSAValue:
    return self


def _dropout(b: Builder, input: SSAValue, p: float, train: bool) -> SSAValue:
    if train and p > 0:
        raise Unsupported(
            "it is in training mode and would drop values at random",
            "call model.eval() before exporting",
        )
    return input


def _cast(b: Builder, self: SSAValue, *rest: object, **more: object) -> SSAValue:
    """Any conversion: torch has worked out the dtype of the result."""
    return b.cast(self)


def _full(value: Scalar | None) -> Callable[..., SSAValue]:
    """A tensor full of `value`, or of the number that follows the operand or size."""

    def build(
        b: Builder, like: object, fill: Any = None, *rest: object, **more: object
    ) -> SSAValue:
        number = fill if value is None else value
        if isinstance(number, SSAValue) or b.dtype != torch.float32:
            raise Unsupported(
                f"a filled tensor of dtype {b.dtype}", "fill it with a float32 number"
            )
        return b.broadcast(b.scalar(number), b.shape)

    return build


_NO_OPS = (
    "contiguous.default",
    "clone.default",
    "detach.default",
    "alias.default",
    "lift_fresh_copy.default",
    "lift_fresh.default",
    "resolve_conj.default",
    "resolve_neg.default",
    "positive.default",
)

RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(_NO_OPS, _same),
    "dropout.default": _dropout,
    "feature_dropout.default": _dropout,
    "alpha_dropout.default": _dropout,
    "feature_alpha_dropout.default": _dropout,
    "to.dtype": _cast,
    "to.dtype_layout": _cast,
    "to.device": _cast,
    "to.other": _cast,
    "type_as.default": _cast,
    "_to_copy.default": _cast,
    "zeros.default": _full(0),
    "ones.default": _full(1),
    "zeros_like.default": _full(0),
    "ones_like.default": _full(1),
    "new_zeros.default": _full(0),
    "new_ones.default": _full(1),
    "full.default": _full(None),
    "full_like.default": _full(None),
    "new_full.default": _full(None),
}
