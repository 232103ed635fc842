"""Kinds of `nn` ops as attributes, and short makers of builtin attributes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from xdsl.dialects.builtin import (
    DenseArrayBase,
    FloatAttr,
    IntegerAttr,
    f64,
    i64,
)
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import SpacedOpaqueSyntaxAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.utils.str_enum import StrEnum


def int_array(values: Sequence[int]) -> DenseArrayBase[Any]:
    """`array<i64: …>`."""
    return DenseArrayBase.from_list(i64, list(values))


def float_array(values: Sequence[float]) -> DenseArrayBase[Any]:
    """`array<f64: …>`."""
    return DenseArrayBase.from_list(f64, list(values))


@cache
def int_attr(value: int) -> IntegerAttr[Any]:
    """`value : i64`."""
    return IntegerAttr(value, i64)


def float_attr(value: float) -> FloatAttr[Any]:
    """`value : f64`."""
    return FloatAttr(value, f64)


class UnaryKind(StrEnum):
    """Functions of one element. Parameters, in the order of `params`, in brackets."""

    NEG = "neg"
    ABS = "abs"
    SQRT = "sqrt"
    RSQRT = "rsqrt"
    RECIPROCAL = "reciprocal"
    EXP = "exp"
    LOG = "log"
    SIN = "sin"
    COS = "cos"
    FLOOR = "floor"
    CEIL = "ceil"
    ROUND = "round"
    SIGN = "sign"
    ERF = "erf"
    RELU = "relu"
    LEAKY_RELU = "leaky_relu"  # [slope]
    ELU = "elu"  # [alpha, scale, input_scale]
    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    HARDSWISH = "hardswish"
    HARDSIGMOID = "hardsigmoid"
    SIGMOID = "sigmoid"
    TANH = "tanh"
    SOFTPLUS = "softplus"  # [beta, threshold]
    CLAMP = "clamp"  # [low, high]
    MISH = "mish"


UNARY_PARAMS: dict[str, int] = {
    "leaky_relu": 1,
    "elu": 3,
    "softplus": 2,
    "clamp": 2,
}
"""Number of parameters of each `UnaryKind`; kinds that are not listed take none."""


class BinaryKind(StrEnum):
    """Functions of two elements; operands broadcast as in numpy."""

    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    MIN = "min"
    MAX = "max"
    POW = "pow"
    PRELU = "prelu"  # lhs where lhs > 0, else lhs * rhs


class PoolKind(StrEnum):
    """What a pooling window gives: its largest element or its mean."""

    MAX = "max"
    AVG = "avg"


class ReduceKind(StrEnum):
    """`argmax` and `argmin` give i64 positions of the first extreme along one axis."""

    SUM = "sum"
    MEAN = "mean"
    MAX = "max"
    MIN = "min"
    PROD = "prod"
    ARGMAX = "argmax"
    ARGMIN = "argmin"


class PadKind(StrEnum):
    """What stands in added positions: a value, a mirror image, the edge."""

    CONSTANT = "constant"
    REFLECT = "reflect"
    REPLICATE = "replicate"


class ResizeKind(StrEnum):
    """How positions between elements are read."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"


class RecurrentKind(StrEnum):
    """What one step of a recurrent layer computes."""

    GRU = "gru"
    LSTM = "lstm"
    RNN_TANH = "rnn_tanh"
    RNN_RELU = "rnn_relu"

    @property
    def gates(self) -> int:
        """Rows of the weight for each element of the state."""
        return {RecurrentKind.GRU: 3, RecurrentKind.LSTM: 4}.get(self, 1)


@irdl_attr_definition
class UnaryKindAttr(EnumAttribute[UnaryKind], SpacedOpaqueSyntaxAttribute):
    """`relu` in `nn.unary relu`."""

    name = "nn.unary_kind"


@irdl_attr_definition
class BinaryKindAttr(EnumAttribute[BinaryKind], SpacedOpaqueSyntaxAttribute):
    """`add` in `nn.binary add`."""

    name = "nn.binary_kind"


@irdl_attr_definition
class PoolKindAttr(EnumAttribute[PoolKind], SpacedOpaqueSyntaxAttribute):
    """`max` in `nn.pool max`."""

    name = "nn.pool_kind"


@irdl_attr_definition
class ReduceKindAttr(EnumAttribute[ReduceKind], SpacedOpaqueSyntaxAttribute):
    """`mean` in `nn.reduce mean`."""

    name = "nn.reduce_kind"


@irdl_attr_definition
class PadKindAttr(EnumAttribute[PadKind], SpacedOpaqueSyntaxAttribute):
    """`reflect` in `nn.pad reflect`."""

    name = "nn.pad_kind"


@irdl_attr_definition
class ResizeKindAttr(EnumAttribute[ResizeKind], SpacedOpaqueSyntaxAttribute):
    """`nearest` in `nn.resize nearest`."""

    name = "nn.resize_kind"


@irdl_attr_definition
class RecurrentKindAttr(EnumAttribute[RecurrentKind], SpacedOpaqueSyntaxAttribute):
    """`gru` in `nn.recurrent gru`."""

    name = "nn.recurrent_kind"
