"""How the elements of an op's inputs map to those of its result, and what may be fused.

An op has one of five mapping types, and a table of 25 cells says for each pair of a
producer and a reader whether to fuse them and what the pair is then. The cells follow
from two rules of the paper. Impedance: one-to-one changes nothing, reorganize and
shuffle change places, one-to-many and many-to-many change how many elements there are;
a pair has the type of its harder half. Profit: a pair with a one-to-one half, or of two
movements, always gains; a many-to-many op after one that multiplies or sums elements
never does, as it would compute them again for each of its results or lose the order in
which it reads memory; all others depend on shapes and must be looked at.

Source: Niu et al., "DNNFusion" (PLDI 2021), sections 3.1 and 3.2, for the types and the
rules. The cells are derived from the rules, not copied from the paper's table 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from xdsl.ir import Operation
from xdsl.utils.str_enum import StrEnum

from edgec.dialects import nn, sq


class MappingType(StrEnum):
    """How elements of an input map to elements of a result."""

    ONE_TO_ONE = "one-to-one"
    ONE_TO_MANY = "one-to-many"
    MANY_TO_MANY = "many-to-many"
    REORGANIZE = "reorganize"
    SHUFFLE = "shuffle"


class Verdict(StrEnum):
    """Whether two ops become one."""

    FUSE = "fuse"
    """Green: always gains."""
    CHECK = "check"
    """Yellow: gains for some shapes; ask a cost, a kernel or a layout."""
    BREAK = "break"
    """Red: never gains."""


class Fusion(NamedTuple):
    """One cell of the table."""

    verdict: Verdict
    result: MappingType
    """Of the two ops together."""


_FUSE, _CHECK, _BREAK = Verdict.FUSE, Verdict.CHECK, Verdict.BREAK
_ONE, _SPREAD, _MANY = (
    MappingType.ONE_TO_ONE,
    MappingType.ONE_TO_MANY,
    MappingType.MANY_TO_MANY,
)
_REORG, _SHUFFLE = MappingType.REORGANIZE, MappingType.SHUFFLE

TABLE: Mapping[tuple[MappingType, MappingType], Fusion] = {
    (_ONE, _ONE): Fusion(_FUSE, _ONE),
    (_ONE, _SPREAD): Fusion(_FUSE, _SPREAD),
    (_ONE, _MANY): Fusion(_FUSE, _MANY),
    (_ONE, _REORG): Fusion(_FUSE, _REORG),
    (_ONE, _SHUFFLE): Fusion(_FUSE, _SHUFFLE),
    (_SPREAD, _ONE): Fusion(_FUSE, _SPREAD),
    (_SPREAD, _SPREAD): Fusion(_CHECK, _SPREAD),
    (_SPREAD, _MANY): Fusion(_BREAK, _MANY),
    (_SPREAD, _REORG): Fusion(_CHECK, _SPREAD),
    (_SPREAD, _SHUFFLE): Fusion(_CHECK, _SPREAD),
    (_MANY, _ONE): Fusion(_FUSE, _MANY),
    (_MANY, _SPREAD): Fusion(_CHECK, _MANY),
    (_MANY, _MANY): Fusion(_BREAK, _MANY),
    (_MANY, _REORG): Fusion(_CHECK, _MANY),
    (_MANY, _SHUFFLE): Fusion(_CHECK, _MANY),
    (_REORG, _ONE): Fusion(_FUSE, _REORG),
    (_REORG, _SPREAD): Fusion(_CHECK, _SPREAD),
    (_REORG, _MANY): Fusion(_CHECK, _MANY),
    (_REORG, _REORG): Fusion(_FUSE, _REORG),
    (_REORG, _SHUFFLE): Fusion(_FUSE, _REORG),
    (_SHUFFLE, _ONE): Fusion(_FUSE, _SHUFFLE),
    (_SHUFFLE, _SPREAD): Fusion(_CHECK, _SPREAD),
    (_SHUFFLE, _MANY): Fusion(_CHECK, _MANY),
    (_SHUFFLE, _REORG): Fusion(_FUSE, _REORG),
    (_SHUFFLE, _SHUFFLE): Fusion(_FUSE, _SHUFFLE),
}
"""Types of a producer and of the op that reads it, to what to do with the two."""

MAPPING_TYPES: Mapping[type[Operation], MappingType] = {
    nn.UnaryOp: _ONE,
    nn.BinaryOp: _ONE,
    nn.CastOp: _ONE,
    nn.BatchNormOp: _ONE,
    nn.ConcatOp: _ONE,
    nn.SliceOp: _ONE,
    nn.PadOp: _ONE,
    sq.ElementwiseOp: _ONE,
    sq.ConvertLayoutOp: _ONE,
    sq.QuantizeOp: _ONE,
    sq.DequantizeOp: _ONE,
    sq.RequantizeOp: _ONE,
    sq.QuantizeDynamicOp: _ONE,
    sq.DequantizeDynamicOp: _ONE,
    nn.BroadcastOp: _SPREAD,
    nn.ResizeOp: _SPREAD,
    sq.ResizeOp: _SPREAD,
    nn.ConvOp: _MANY,
    nn.ConvTransposeOp: _MANY,
    nn.LinearOp: _MANY,
    nn.MatmulOp: _MANY,
    nn.RecurrentOp: _MANY,
    nn.SoftmaxOp: _MANY,
    nn.LayerNormOp: _MANY,
    nn.GroupNormOp: _MANY,
    nn.PoolOp: _MANY,
    nn.AdaptivePoolOp: _MANY,
    nn.ReduceOp: _MANY,
    sq.AverageOp: _MANY,
    sq.ChooseQparamsOp: _MANY,
    sq.ConvOp: _MANY,
    sq.DispatchOp: _MANY,
    sq.LinearOp: _MANY,
    sq.MatmulOp: _MANY,
    nn.ReshapeOp: _REORG,
    nn.TransposeOp: _SHUFFLE,
    sq.ShuffleChannelsOp: _SHUFFLE,
}
"""Every op that reads tensors; constants have no inputs."""


SPREADING = (
    nn.BinaryOp,
    sq.ElementwiseOp,
    sq.QuantizeDynamicOp,
    sq.DequantizeDynamicOp,
)
"""One-to-one ops that may broadcast an operand."""


def fusion(first: MappingType, second: MappingType) -> Fusion:
    """The cell for an op of type `first` whose result one of type `second` reads."""
    return TABLE[first, second]


def mapping_type(op: Operation, operand: int = 0) -> MappingType:
    """The type of `op` as its operand number `operand` sees it.

    To an operand that broadcasts, an elementwise op is one-to-many.
    """
    found = MAPPING_TYPES[type(op)]
    if found is _ONE and isinstance(op, SPREADING):
        read = math.prod(nn.shape_of(op.operands[operand]))
        return _ONE if read == math.prod(nn.shape_of(op.results[0])) else _SPREAD
    return found
