"""Sparse convolutions as the cost model sees them."""

from __future__ import annotations

from collections.abc import Mapping

from edgec.dialects import nn, sq
from edgec.dialects.bf16 import PAIR
from edgec.dialects.lane import QUAD
from edgec.kernels import cost_pairs, cost_quads
from edgec.kernels.conv.quad_columns import (
    EMULATED,
    is_bounded,
    kept_columns,
    wide_columns,
)
from edgec.kernels.conv.tile_columns import KeptGroups, kept_groups
from edgec.kernels.conv.window import window_of
from edgec.kernels.cost import SparseLayer
from edgec.kernels.cost_columns import ColumnLayer
from edgec.kernels.cost_pairs import PairLayer
from edgec.kernels.cost_quads import QuadDepthwiseLayer, QuadLayer
from edgec.kernels.cost_tiles import TileLayer

MAX_DENSITY = 0.9
"""Largest share of a weight that is worth storing sparsely."""
COLUMN_COST = {8: 1.0, 4: 1.05, 2: 1.4, 1: 1.9}
"""Time of a multiply-add by filters that share a column; 1 is the dense kernel's. Means
over 3x3 and 1x1 layers, with AVX-512 and AVX2, on one core of an AMD EPYC (family 26).
"""


def sparse_layer(
    op: sq.ConvOp, encoding: sq.PatternAttr | sq.ColumnsAttr
) -> SparseLayer:
    """The convolution as the cost model sees it.

    A column of a single filter counts as a kernel of one tap.
    """
    weight, result = nn.shape_of(op.weight), nn.shape_of(op.result)
    if isinstance(encoding, sq.ColumnsAttr):
        kernels, taps = encoding.num_columns * encoding.block_size, 1
    else:
        kernels, taps = encoding.num_kernels, len(encoding.taps[0])
    return SparseLayer(
        height=result[2],
        width=result[3],
        filters=weight[0],
        channels=weight[1],
        kernels=kernels,
        taps=taps,
        window=(weight[2], weight[3]),
    )


def column_layer(
    op: sq.ConvOp, encoding: sq.ColumnsAttr, positions: int
) -> ColumnLayer:
    """The convolution as the cost model sees it; `positions` of one result plane."""
    return ColumnLayer(
        positions=positions,
        filters=nn.shape_of(op.weight)[0],
        block=encoding.block_size,
        columns=encoding.num_columns,
        channels=nn.shape_of(op.weight)[1],
        groups=encoding.num_groups,
    )


def quad_depthwise_layer(op: sq.ConvOp) -> QuadDepthwiseLayer:
    """The integer depthwise convolution as the cost model sees it."""
    _, channels, height, width = nn.shape_of(op.result)
    window = window_of(op)
    return QuadDepthwiseLayer(
        groups=-(-channels // QUAD),
        height=height,
        width=width,
        kernel=(window.kernel[0], window.kernel[1]),
        stride=(window.stride[0], window.stride[1]),
        dilation=(window.dilation[0], window.dilation[1]),
        steps=len(op.epilogue),
    )


def pair_layer(op: sq.ConvOp, positions: int) -> PairLayer:
    """The convolution of bfloat16 as the cost model sees it."""
    filters, channels = nn.shape_of(op.weight)[:2]
    return PairLayer(
        positions=positions,
        filters=filters,
        channels=-(-channels // PAIR),
        kept=tuple(sorted(kept_columns(op).items())),
        steps=len(op.epilogue),
        emulated=EMULATED in op.attributes,
    )


def quad_layer(op: sq.ConvOp, positions: int) -> QuadLayer:
    """The integer convolution as the cost model sees it."""
    filters, channels = nn.shape_of(op.weight)[:2]
    return QuadLayer(
        positions=positions,
        filters=filters,
        channels=-(-channels // QUAD),
        kept=tuple(sorted(kept_columns(op).items())),
        wide=tuple(sorted(wide_columns(op).items())),
        steps=len(op.epilogue),
        bounded=is_bounded(op),
    )


def tile_layer(op: sq.ConvOp | sq.LinearOp, positions: int) -> TileLayer:
    """A layer of int8 or bfloat16 as the cost model of tiles sees it.

    A linear layer is to be a convolution.
    """
    kept, is_pairs = kept_groups(op), sq.has_bf16(op.input)
    end = cost_pairs.EPILOGUE if is_pairs else cost_quads.EPILOGUE
    return tile_layer_of(op, positions, kept, PAIR if is_pairs else QUAD, end)


def tile_layer_of(
    op: sq.ConvOp | sq.LinearOp,
    positions: int,
    kept: Mapping[int, KeptGroups],
    held: int,
    end: float,
) -> TileLayer:
    """The same with so many channels in each lane, and such an end."""
    filters, channels = nn.shape_of(op.weight)[:2]
    return TileLayer(
        positions=positions,
        filters=filters,
        channels=-(-channels // held),
        kept=tuple(
            (block, found.direct, found.gathered)
            for block, found in sorted(kept.items())
        ),
        steps=len(op.epilogue),
        end=end,
    )
