"""What linear layers on integers read, and in which shape others read that."""

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


def is_unflattened(op: nn.ReshapeOp) -> bool:
    """Whether the rows of a matrix get back the dimensions that they had."""
    rows, shape = nn.shape_of(op.input), nn.shape_of(op.result)
    return len(rows) == 2 and shape[-1:] == rows[-1:]


def unflattened(value: SSAValue) -> SSAValue:
    """The matrix whose rows a tensor has, or the tensor itself."""
    op = producer(value, nn.ReshapeOp)
    return value if op is None or not is_unflattened(op) else op.input
