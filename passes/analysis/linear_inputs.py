"""What linear layers on integers read."""

from __future__ import annotations

from xdsl.ir import SSAValue

from edgec.dialects import nn, sq
from edgec.dialects.shapes import flattened
from edgec.passes.patterns.rewriting import producer


def quantized_rows(value: SSAValue) -> SSAValue | None:
    """The quantized tensor whose dequantized rows a linear layer reads, if it does.

    The rows may be what `nn.reshape` flattens: the layer then reads the tensor as it
    lies, with its weight in that order.
    """
    source = producer(value, sq.DequantizeOp)
    if source is not None:
        return source.input
    flat = producer(value, nn.ReshapeOp)
    source = None if flat is None else producer(flat.input, sq.DequantizeOp)
    if flat is None or source is None:
        return None
    shape = nn.shape_of(flat.input)
    if len(shape) < 2 or flattened(shape) != nn.shape_of(flat.result):
        return None
    return source.input
