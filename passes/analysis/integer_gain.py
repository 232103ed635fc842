"""Whether a quantized layer is faster in integers, or sparse in float32.

Integers multiply four channels at once, but keep four of them for a whole block of
filters where any weight of these is not zero. Of weights that are very sparse and have
no structure, kernels in float32 keep a fraction of that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgec.dialects import nn
from edgec.dialects.lane import QUAD
from edgec.dialects.shapes import Shape
from edgec.kernels.conv.quad_columns import count_columns, count_wide_columns
from edgec.kernels.cost import (
    DENSE_EFFICIENCY,
    FMA_PER_CYCLE,
    Registers,
    SparseLayer,
    best_tile,
    pattern_cycles,
)
from edgec.kernels.cost_columns import (
    ColumnLayer,
    LinearLayer,
    best_columns_block,
    columns_cycles,
    dense_linear_cycles,
    few_rows_cycles,
    many_rows_cycles,
    stream_cycles,
)
from edgec.kernels.cost_moves import moved_cycles
from edgec.kernels.cost_quads import (
    BOUNDED_PRODUCT,
    QuadLayer,
    best_quads_block,
    candidates,
    quads_cycles,
)
from edgec.kernels.linear.codes import code_shape
from edgec.kernels.linear.columns import MIN_BLOCK
from edgec.passes.analysis.predict import LEAST_GAIN

SHARED = (8, 4, 1)
"""Filters that may share the columns of a weight in float32."""
STEPS = 2
"""Of an epilogue, as long as it is not known."""
WORTH_A_LOOK = 0.25
"""Density above which integers are faster anyhow: they keep no more than all."""

Bytes = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Machine:
    """What the prediction depends on."""

    registers: Registers
    l1_bytes: int
    bounded: bool


class Gain(NamedTuple):
    """Cycles of one core for one image."""

    integers: float
    floats: float

    @property
    def is_float(self) -> bool:
        """Whether to leave integers."""
        return self.floats * LEAST_GAIN < self.integers

    def __str__(self) -> str:
        """For reports."""
        return f"predicted float32 / integers = {self.floats / self.integers:.2f}"


def gain_of(
    op: nn.ConvOp | nn.LinearOp, weight: Bytes, machine: Machine
) -> Gain | None:
    """Both predictions of a layer with one group; None if it is not sparse."""
    density = np.count_nonzero(weight) / weight.size
    if density > WORTH_A_LOOK:
        return None
    if isinstance(op, nn.LinearOp):
        layer = LinearLayer(math.prod(nn.shape_of(op.result)[:-1]), *weight.shape)
        moved = _conversions(*(nn.shape_of(v) for v in (op.input, op.result)))
        floats = min(_float_linear_cycles(layer, weight, machine)) + moved
        return Gain(_codes_cycles(layer, weight, machine), floats)
    return None if op.groups.value.data != 1 else _conv_gain(op, weight, machine)


def _conv_gain(op: nn.ConvOp, weight: Bytes, machine: Machine) -> Gain:
    result = nn.shape_of(op.result)[2:]
    filters, channels = weight.shape[:2]
    blocks = candidates(machine.registers)
    wide = count_wide_columns(weight, blocks) if machine.bounded else {}
    quads = QuadLayer(
        positions=math.prod(result),
        filters=filters,
        channels=-(-channels // QUAD),
        kept=tuple(sorted(count_columns(weight, blocks).items())),
        wide=tuple(sorted(wide.items())),
        steps=STEPS,
        bounded=machine.bounded,
    )
    block = best_quads_block(quads, machine.registers)
    integers = quads_cycles(quads, block, lanes=machine.registers.lanes)
    floats = min(_float_cycles(op, weight, machine))
    moved = _conversions(*(nn.shape_of(v)[1:] for v in (op.input, op.result)))
    return Gain(integers, floats + moved)


def _float_cycles(op: nn.ConvOp, weight: Bytes, machine: Machine) -> Iterator[float]:
    """Of the sparse kernels in float32."""
    registers, result = machine.registers, nn.shape_of(op.result)[2:]
    filters, channels = weight.shape[:2]
    for shared in SHARED:
        starts = np.arange(0, filters, shared, dtype=np.int64)
        columns = np.logical_or.reduceat(weight != 0, starts, axis=0).sum()
        layer = ColumnLayer(
            positions=math.prod(result),
            filters=filters,
            block=shared,
            columns=int(columns),
            channels=channels,
            groups=1,
        )
        block = best_columns_block(layer, registers)
        yield columns_cycles(layer, block, lanes=registers.lanes)
    if len(result) == 2:
        sparse = SparseLayer(
            height=result[0],
            width=result[1],
            filters=filters,
            channels=channels,
            kernels=int(np.count_nonzero(weight)),
            taps=1,
            window=(weight.shape[2], weight.shape[3]),
        )
        tile = best_tile(sparse, registers, machine.l1_bytes)
        yield pattern_cycles(sparse, tile, lanes=registers.lanes)


def _codes_cycles(layer: LinearLayer, weight: Bytes, machine: Machine) -> float:
    """Of the integer kernel: vectors of quads, which are read once for a few rows."""
    lanes = machine.registers.lanes
    shapes = [code_shape(weight, lanes * wide, is_quads=True) for wide in (QUAD, 1)]
    best = min(shapes, key=lambda shape: shape.num_bytes)
    vectors = best.stored_weights / lanes
    instructions = BOUNDED_PRODUCT if machine.bounded else 1
    products = layer.rows * vectors * instructions / FMA_PER_CYCLE / DENSE_EFFICIENCY
    return max(products, stream_cycles(best.num_bytes))


def _float_linear_cycles(
    layer: LinearLayer, weight: Bytes, machine: Machine
) -> Iterator[float]:
    """Of the kernels in float32."""
    registers = machine.registers
    yield dense_linear_cycles(layer, lanes=registers.lanes)
    for shared in (*SHARED, MIN_BLOCK):
        starts = np.arange(0, layer.filters, shared, dtype=np.int64)
        columns = int(np.logical_or.reduceat(weight != 0, starts, axis=0).sum())
        yield many_rows_cycles(layer, shared, columns, registers)
        if shared >= MIN_BLOCK:
            yield few_rows_cycles(layer, shared, columns, lanes=registers.lanes)


def _conversions(source_shape: Shape, result_shape: Shape) -> float:
    """From bytes to numbers before the layer, and back behind it."""
    source, result = math.prod(source_shape), math.prod(result_shape)
    # A byte read and a number written, and this read again; then the other way round.
    return moved_cycles((1 + 4 + 4) * source) + moved_cycles((4 + 4 + 1) * result)
