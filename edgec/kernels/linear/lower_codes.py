"""`sq.linear` on quantized tensors to the kernel that reads weights as codes.

Kernels are made without the weights, so what these decide stands on the op:
`choose-kernel` sets it as the schedule of the family `codes`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.dialects.lane import QUAD
from edgec.errors import InvalidInput, PassFailed
from edgec.kernels.constants import constant_array, constant_name
from edgec.kernels.conv.lower_quads import ending_of
from edgec.kernels.conv.quad_columns import FITS
from edgec.kernels.gaps import has_gaps
from edgec.kernels.layout import Layout, layout
from edgec.kernels.linear.code_loop import most_sums
from edgec.kernels.linear.codes import (
    Bytes,
    CodeShape,
    are_pairs_bounded,
    bits_of,
    code_shape,
)
from edgec.kernels.linear.quads import QuadLinear, in_order_of_quads, pack_linear_quads
from edgec.kernels.lowered import Lowered, Packed
from edgec.kernels.operands import dequantize_of, layout_of
from edgec.kernels.requantize import Requantize

FAMILY = "codes"
SETTINGS = {"bits", "bounded", "outputs", "steps"}
"""What a complete schedule has."""
MOST_VECTORS = 4
"""Registers of a block."""


def code_settings(op: sq.LinearOp, weights: WeightStore, lanes: int) -> dict[str, int]:
    """The schedule: outputs of a block, and what the weight says of the kernel.

    A result of bytes has four neighbouring outputs in a lane, so its blocks have four
    registers; else smaller ones may keep fewer zeros.
    """
    weight, rows = _weight(op, weights), nn.shape_of(op.result)[0]
    blocks = [QUAD * lanes]
    if not sq.has_integers(op.result):
        wide = max(1, min(MOST_VECTORS, most_sums(lanes) // min(rows, MOST_VECTORS)))
        blocks = [lanes * min(wide, -(-len(weight) // lanes)), lanes]
    bits = bits_of(weight)
    shapes = [code_shape(weight, each, is_quads=True, bits=bits) for each in blocks]
    best = min(shapes, key=lambda shape: shape.num_bytes)
    return {
        "bits": best.bits,
        "bounded": int(are_pairs_bounded(weight)),
        "outputs": best.block,
        "steps": best.steps,
    }


def code_shape_of(op: sq.LinearOp) -> CodeShape:
    """The stored weight of a layer that has its schedule."""
    assert op.kernel is not None
    settings, source = op.kernel.settings, nn.shape_of(op.input)
    quads = -(-source[1] // QUAD) * math.prod(source[2:])
    return CodeShape(
        nn.shape_of(op.weight)[0],
        quads,
        settings["outputs"],
        settings["bits"],
        is_quads=True,
        steps=settings["steps"],
    )


def _weight(op: sq.LinearOp, weights: WeightStore) -> Bytes:
    """The weight, its columns in the order in which the input lies."""
    owner = op.weight.owner
    if not isinstance(owner, nn.ConstantOp):
        raise PassFailed(
            "'sq.linear' op on quantized tensors must have a constant weight, got "
            f"{op.weight}"
        )
    weight = np.asarray(constant_array(owner, weights), np.int8)
    return in_order_of_quads(weight, nn.shape_of(op.input))


def _rows(place: Layout) -> Layout:
    """The input as one row of quads for each image."""
    if len(place.shape) == 2:
        return place
    if place.is_split or has_gaps(place):
        raise InvalidInput(f"what is flattened must have no gaps, got {place}")
    shape = (place.shape[0], math.prod(place.shape[1:]))
    return Layout(shape, (place.strides[0], 1), place.origin, slack=place.slack)


def lower_codes(op: sq.LinearOp, weights: WeightStore, lanes: int) -> Lowered:
    """A linear layer on integers."""
    found = dequantize_of(op.input)
    if found is None or op.kernel is None or op.kernel.family.data != FAMILY:
        raise PassFailed(
            f"'sq.linear' op on quantized tensors must have the kernel '{FAMILY}', got "
            f"{op.kernel}: run choose-kernel first"
        )
    settings = op.kernel.settings
    if set(settings) != SETTINGS:
        raise PassFailed(
            f"'sq.linear' op kernel '{FAMILY}' must have the schedule "
            f"{sorted(SETTINGS)}, got {sorted(settings)}: run choose-kernel first"
        )
    end = ending_of(op, weights)
    requantize = None if end.to is None else Requantize.of(end.to)
    if requantize is not None:
        requantize = replace(requantize, bounded=FITS in op.attributes)
    shape = code_shape_of(op)
    codes, _, numbers = pack_linear_quads(
        _weight(op, weights),
        found.zero_point,
        end.scale,
        end.shift,
        shape.block,
        interleaved=0 if requantize is None else shape.block // QUAD,
        sparse=shape.is_sparse,
        bits=shape.bits,
    )
    if codes.shape != shape:
        raise PassFailed(f"the schedule says {shape}, but the weight is {codes.shape}")
    spec = QuadLinear(
        _rows(layout(op.input)),
        layout(op.result),
        shape,
        bool(settings["bounded"]),
        end.steps,
        tuple(layout_of(extra) for extra in op.extras),
        requantize,
        tuple(dequantize_of(extra) for extra in op.extras),
    )
    arrays = {name: codes.arrays[name] for name in shape.buffers()} | numbers
    hint = f"{constant_name(op.weight.owner)}.codes{shape.block}"
    packed = [Packed(f"{hint}.{name}", array) for name, array in arrays.items()]
    return Lowered(spec, (op.input, *packed, *op.extras))
