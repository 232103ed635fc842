"""The work of ops: what they compute element by element, and what they read and write.

Only ops that `rewrite-algebra` adds or removes are priced. Convolutions and other
products have no arithmetic here, as no rewrite changes how often they multiply; what
they read and write counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from xdsl.ir import Operation, SSAValue

from edgec.dialects import nn

CHEAP = frozenset(
    nn.UnaryKind(kind)
    for kind in ("neg", "abs", "relu", "clamp", "floor", "ceil", "round", "sign")
)
"""Functions that take one or two instructions."""

DEAR = 8
"""Price of a division, a root or a transcendental function in multiplications: vector
divisions start every 5 to 16 cycles, two multiplications each cycle."""


class Work(NamedTuple):
    """What some ops cost."""

    arithmetic: int
    """Elementwise multiplications and additions, and others at their price."""
    traffic: int
    """Elements that are read or written."""

    def is_less_than(self, other: Work) -> bool:
        """Whether one number is smaller and neither is larger."""
        return (
            self.arithmetic <= other.arithmetic
            and self.traffic <= other.traffic
            and self != other
        )


def size_of(value: SSAValue) -> int:
    """Elements of a tensor."""
    return math.prod(nn.shape_of(value))


def arithmetic(op: Operation) -> int:
    """What an elementwise op or a reduction computes; 0 for all others."""
    if isinstance(op, nn.UnaryOp):
        return size_of(op.result) * (1 if op.kind.data in CHEAP else DEAR)
    if isinstance(op, nn.BinaryOp):
        is_dear = op.kind.data in (nn.BinaryKind.DIV, nn.BinaryKind.POW)
        return size_of(op.result) * (DEAR if is_dear else 1)
    if isinstance(op, nn.ReduceOp):
        is_mean = op.kind.data is nn.ReduceKind.MEAN
        return size_of(op.input) + (size_of(op.result) if is_mean else 0)
    return 0


def traffic(op: Operation) -> int:
    """Elements that an op reads and writes; constants and reshapes are free."""
    is_tensor_op = op.name.startswith("nn.")
    if not is_tensor_op or isinstance(op, nn.ConstantOp | nn.ReshapeOp):
        return 0
    return sum(map(size_of, (*op.operands, *op.results)))


def work_of(ops: Iterable[Operation]) -> Work:
    """The sum over some ops."""
    found = list(ops)
    return Work(sum(map(arithmetic, found)), sum(map(traffic, found)))
