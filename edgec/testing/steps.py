"""The steps by which random `nn` graphs grow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
from hypothesis import strategies as st
from xdsl.builder import Builder
from xdsl.dialects.builtin import TensorType, f32
from xdsl.ir import Operation, SSAValue

from edgec.context import EdgecContext
from edgec.dialects import nn
from edgec.dialects.shapes import Shape
from edgec.interpreter.arrays import AnyArray

T = TypeVar("T")

ACTIVATIONS: dict[str, tuple[float, ...]] = {
    "relu": (),
    "clamp": (0.0, 6.0),
    "leaky_relu": (0.125,),
    "silu": (),
    "hardswish": (),
    "sigmoid": (),
    "tanh": (),
    "gelu": (),
    "gelu_tanh": (),
    "hardsigmoid": (),
    "elu": (1.0, 1.0, 1.0),
    "softplus": (1.0, 20.0),
    "mish": (),
}
"""Unary kinds with a bounded slope and their params, the simplest first."""


@dataclass
class Graph:
    """A function under construction; `values` are those that later steps may use."""

    draw: st.DrawFn
    rng: np.random.Generator
    ctx: EdgecContext
    builder: Builder
    values: list[SSAValue] = field(default_factory=list[SSAValue])

    def add(self, op: Operation) -> SSAValue:
        """Append an op with one result and return the result."""
        return self.builder.insert(op).results[0]

    def weight(self, array: AnyArray) -> SSAValue:
        """A constant with a fresh name."""
        array = np.ascontiguousarray(array, np.float32)
        name = self.ctx.weights.add(f"w{len(self.ctx.weights)}", array)
        return self.add(nn.ConstantOp(name, TensorType(f32, array.shape)))

    def normal(self, *shape: int, fan_in: int = 1) -> SSAValue:
        """A constant of normal numbers with variance `1 / fan_in`."""
        return self.weight(self.rng.standard_normal(shape) / math.sqrt(fan_in))

    def integer(self, low: int, high: int) -> int:
        """An integer in `low..high`."""
        return self.draw(st.integers(low, high))

    def integers(self, low: int, highs: Sequence[int]) -> tuple[int, ...]:
        """One integer in `low..high` for each of `highs`."""
        return tuple(self.integer(low, high) for high in highs)

    def flag(self) -> bool:
        """True or false."""
        return self.draw(st.booleans())

    def pick(self, options: Sequence[T]) -> T:
        """One of `options`."""
        return self.draw(st.sampled_from(options))

    def earlier(self, fits: Callable[[Shape], bool]) -> SSAValue:
        """A value made before whose shape fits; the last one does."""
        return self.pick([v for v in self.values if fits(nn.shape_of(v))])


class Step(NamedTuple):
    """A step, the ranks of values that it can take, and how often it is picked."""

    ranks: range
    run: Callable[[Graph, SSAValue], SSAValue]
    share: int = 1


def conv(graph: Graph, x: SSAValue) -> SSAValue:
    """A convolution: dense, grouped or depthwise, strided, dilated, padded at will."""
    _, channels, *spatial = nn.shape_of(x)
    groups = graph.pick([g for g in range(1, channels + 1) if channels % g == 0])
    filters = groups * graph.integer(1, max(1, 8 // groups))
    dilation = graph.integers(1, [2] * len(spatial))
    low, high = (graph.integers(0, [2] * len(spatial)) for _ in range(2))
    kernel = graph.integers(
        1,
        [
            min(3, (size + a + b - 1) // d + 1)
            for size, a, b, d in zip(spatial, low, high, dilation, strict=True)
        ],
    )
    fan_in = channels // groups * math.prod(kernel)
    return graph.add(
        nn.ConvOp(
            x,
            graph.normal(filters, channels // groups, *kernel, fan_in=fan_in),
            graph.normal(filters) if graph.flag() else None,
            stride=graph.integers(1, [2] * len(spatial)),
            padding_low=low,
            padding_high=high,
            dilation=dilation,
            groups=groups,
        )
    )


def block(graph: Graph, x: SSAValue) -> SSAValue:
    """What networks are made of: convolution, batch norm, residual, activation."""
    x = conv(graph, x)
    if graph.flag():
        x = batch_norm(graph, x)
    fitting = [v for v in graph.values if nn.shape_of(v) == nn.shape_of(x)]
    if fitting and graph.flag():
        x = graph.add(nn.BinaryOp("add", x, graph.pick(fitting)))
    return activation(graph, x) if graph.flag() else x


def conv_transpose(graph: Graph, x: SSAValue) -> SSAValue:
    """A transposed convolution that at most doubles each size."""
    _, channels, *spatial = nn.shape_of(x)
    filters, rank = graph.integer(1, 4), len(spatial)
    kernel = graph.integers(1, [3] * rank)
    stride = graph.integers(1, [2] * rank)
    fan_in = channels * math.prod(kernel)
    return graph.add(
        nn.ConvTransposeOp(
            x,
            graph.normal(channels, filters, *kernel, fan_in=fan_in),
            graph.normal(filters) if graph.flag() else None,
            stride=stride,
            padding=[(k - 1) // 2 for k in kernel],
            output_padding=graph.integers(0, [s - 1 for s in stride]),
            dilation=[1] * rank,
        )
    )


def linear(graph: Graph, x: SSAValue) -> SSAValue:
    """A linear layer, after which the last dimension has up to 9 entries."""
    features, size = graph.integer(1, 9), nn.shape_of(x)[-1]
    weight = graph.normal(features, size, fan_in=size)
    bias = graph.normal(features) if graph.flag() else None
    return graph.add(nn.LinearOp(x, weight, bias))


def matmul(graph: Graph, x: SSAValue) -> SSAValue:
    """The product with a matrix, or of a tensor with its transpose."""
    *batch, rows, size = nn.shape_of(x)
    if graph.flag():
        right = graph.normal(size, graph.integer(1, 9), fan_in=size)
    else:
        order = [*range(len(batch)), len(batch) + 1, len(batch)]
        right = graph.add(nn.TransposeOp(x, order))
        scale = graph.weight(np.full(1, 1 / (size * math.sqrt(rows))))
        right = graph.add(nn.BinaryOp("mul", right, scale))
    return graph.add(nn.MatmulOp(x, right))


def batch_norm(graph: Graph, x: SSAValue) -> SSAValue:
    """A batch norm with random statistics."""
    channels = nn.shape_of(x)[1]
    scale, shift, mean = (graph.normal(channels) for _ in range(3))
    variance = graph.weight(graph.rng.uniform(0.25, 2, channels))
    eps = graph.pick([1e-5, 1e-3])
    return graph.add(nn.BatchNormOp(x, scale, shift, mean, variance, eps))


def layer_norm(graph: Graph, x: SSAValue) -> SSAValue:
    """A layer norm; its eps keeps the slope bounded where all elements are equal."""
    shape = nn.shape_of(x)
    rank = graph.integer(1, len(shape) - 1)
    scale, shift = (graph.normal(*shape[-rank:]) for _ in range(2))
    return graph.add(nn.LayerNormOp(x, scale, shift, 0.1, rank))


def softmax(graph: Graph, x: SSAValue) -> SSAValue:
    """A softmax or its logarithm along any dimension."""
    axis = graph.integer(0, len(nn.shape_of(x)) - 1)
    return graph.add(nn.SoftmaxOp(x, axis, log=graph.flag()))


def activation(graph: Graph, x: SSAValue) -> SSAValue:
    """An activation."""
    kind = graph.pick(list(ACTIVATIONS))
    return graph.add(nn.UnaryOp(kind, x, ACTIVATIONS[kind]))


def residual(graph: Graph, x: SSAValue) -> SSAValue:
    """The sum, difference, product, … with an earlier value of the same shape."""
    other = graph.earlier(lambda shape: shape == nn.shape_of(x))
    kind = graph.pick(["add", "sub", "max", "min"])
    return graph.add(nn.BinaryOp(kind, *graph.pick([(x, other), (other, x)])))


def affine(graph: Graph, x: SSAValue) -> SSAValue:
    """A sum or product with a constant per channel, or with a scalar."""
    shape = nn.shape_of(x)
    per_channel = (shape[1], *(1,) * (len(shape) - 2))
    other = graph.normal(*graph.pick([per_channel, (1,)]))
    kind = graph.pick(["add", "mul"])
    return graph.add(nn.BinaryOp(kind, *graph.pick([(x, other), (other, x)])))


def concat(graph: Graph, x: SSAValue) -> SSAValue:
    """Channels of two values, one after the other."""
    first, _, *rest = nn.shape_of(x)
    other = graph.earlier(
        lambda shape: len(shape) > 1 and (first, *rest) == (shape[0], *shape[2:])
    )
    return graph.add(nn.ConcatOp([other, x], 1))


def pool(graph: Graph, x: SSAValue) -> SSAValue:
    """A max or average pool with all its options."""
    spatial = nn.shape_of(x)[2:]
    kernel = graph.integers(1, [min(3, size) for size in spatial])
    kind = graph.pick(["max", "avg"])
    return graph.add(
        nn.PoolOp(
            kind,
            x,
            kernel=kernel,
            stride=graph.integers(1, [3] * len(spatial)),
            padding=graph.integers(0, [k // 2 for k in kernel]),
            dilation=[1] * len(spatial),
            ceil_mode=graph.flag(),
            count_include_pad=graph.flag(),
        )
    )


def adaptive_pool(graph: Graph, x: SSAValue) -> SSAValue:
    """A global or adaptive pool."""
    spatial = graph.integers(1, [3] * (len(nn.shape_of(x)) - 2))
    return graph.add(nn.AdaptivePoolOp(graph.pick(["avg", "max"]), x, spatial))


def reduce(graph: Graph, x: SSAValue) -> SSAValue:
    """A mean or maximum over the spatial dimensions."""
    axes = range(2, len(nn.shape_of(x)))
    kind = graph.pick(["mean", "max", "min"])
    return graph.add(nn.ReduceOp(kind, x, axes, keep_dims=graph.flag()))


def flatten(graph: Graph, x: SSAValue) -> SSAValue:
    """All but the batch as one dimension."""
    batch, *rest = nn.shape_of(x)
    return graph.add(nn.ReshapeOp(x, (batch, math.prod(rest))))


def transpose(graph: Graph, x: SSAValue) -> SSAValue:
    """Any permutation of the dimensions behind the batch."""
    axes = graph.draw(st.permutations(range(1, len(nn.shape_of(x)))))
    return graph.add(nn.TransposeOp(x, (0, *axes)))


def slice_(graph: Graph, x: SSAValue) -> SSAValue:
    """Part of each dimension, perhaps with steps."""
    shape = nn.shape_of(x)
    starts = graph.integers(0, [size - 1 for size in shape])
    steps = graph.integers(1, [2] * len(shape))
    room = [
        (size - a - 1) // s + 1 for size, a, s in zip(shape, starts, steps, strict=True)
    ]
    return graph.add(nn.SliceOp(x, starts, graph.integers(1, room), steps))


def pad(graph: Graph, x: SSAValue) -> SSAValue:
    """Spatial dimensions padded by up to 2, less where reflection needs it."""
    spatial = nn.shape_of(x)[2:]
    kind = graph.pick(["constant", "replicate", "reflect"])
    most = [2 if kind != "reflect" else min(2, size - 1) for size in spatial]
    low, high = ((0, 0, *graph.integers(0, most)) for _ in range(2))
    return graph.add(nn.PadOp(kind, x, low, high))


def resize(graph: Graph, x: SSAValue) -> SSAValue:
    """Nearest resizing to about twice the size or less."""
    spatial = nn.shape_of(x)[2:]
    out = graph.integers(1, [2 * size for size in spatial])
    scales = [size / o for size, o in zip(spatial, out, strict=True)]
    return graph.add(nn.ResizeOp("nearest", x, out, scales))


_ANY, _SPATIAL = range(2, 6), range(3, 6)

STEPS: dict[str, Step] = {
    "activation": Step(_ANY, activation),
    "conv": Step(_SPATIAL, conv, share=3),
    "batch_norm": Step(_ANY, batch_norm, share=2),
    "block": Step(_SPATIAL, block, share=5),
    "residual": Step(_ANY, residual, share=2),
    "affine": Step(_ANY, affine),
    "pool": Step(_SPATIAL, pool),
    "concat": Step(_ANY, concat),
    "linear": Step(_ANY, linear, share=2),
    "adaptive_pool": Step(_SPATIAL, adaptive_pool),
    "reduce": Step(_SPATIAL, reduce),
    "flatten": Step(_SPATIAL, flatten),
    "transpose": Step(_SPATIAL, transpose),
    "slice": Step(_ANY, slice_),
    "pad": Step(_SPATIAL, pad),
    "resize": Step(_SPATIAL, resize),
    "conv_transpose": Step(_SPATIAL, conv_transpose),
    "layer_norm": Step(_ANY, layer_norm),
    "softmax": Step(_ANY, softmax),
    "matmul": Step(_ANY, matmul),
}
"""Name → step. Hypothesis shrinks towards the first that fits."""
