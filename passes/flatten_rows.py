"""Let linear layers on bytes read matrices.

What: an `nn.linear` of quantized tokens `[N, T, C]` becomes one of their rows
`[N T, C]`, between two `nn.reshape`. So do the steps and the quantizing around it, so
that what stands between two such layers is matrices too.

Why: integer kernels read *quads*, four neighbours of axis 1 in a lane. In a matrix
these are the numbers that a row of the weight is multiplied with; of tokens they would
be four rows. Reshapes of float32 numbers are free, those of quads of axis 1 are not.

How: one walk forward. A layer is taken if it could multiply integers
(`analysis.why_float`). A tensor gets the form of a matrix where its reader first asks
for it: what is quantized or dequantized does that in rows, everything else is reshaped.
Behind a layer steps follow it, whose other operands have the shape of the result, or
one number for each column or for all. Readers of any other kind find a reshape. Bytes
that the function gets or that were moved are dequantized, reshaped and quantized again,
which changes no byte.

Invariants: needs `nn` and `sq`; runs after `canonicalize-nn`, and before
`propagate-quantization`. Values do not change. Layers with a weight in float32, or with
an input that is, are left alone.

Source: folklore; torch does the same with the inputs of its matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from edgec.context import WeightStore, weights_of
from edgec.dialects import nn, sq
from edgec.dialects.shapes import Shape
from edgec.passes.analysis.why_float import stored_of, why_not_as_rows
from edgec.passes.base import ReportingPass
from edgec.passes.patterns.rewriting import copy_labels, erase_dead

Step = nn.UnaryOp | nn.BinaryOp


def matrix_shape(shape: Shape) -> Shape:
    """`[…, C]` as `[rows, C]`."""
    return (math.prod(shape[:-1]), shape[-1])


def operand_shape(shape: Shape, result: Shape) -> Shape | None:
    """What an operand becomes where a result becomes a matrix; None if it cannot.

    It has one number for each column or for all, or so for each row.
    """
    if len(shape) < 2:
        return shape
    padded = (1,) * (len(result) - len(shape)) + shape
    if padded[:-1] == result[:-1]:
        return matrix_shape(padded)
    return (1, padded[-1]) if set(padded[:-1]) <= {1} else None


@dataclass
class Rows:
    """Tensors as matrices, each made once."""

    made: dict[SSAValue, SSAValue] = field(default_factory=dict[SSAValue, SSAValue])

    def of(self, value: SSAValue) -> SSAValue:
        """The matrix of a tensor; quantizing is done in rows."""
        if value in self.made:
            return self.made[value]
        maker = value.owner
        if isinstance(maker, sq.DequantizeOp | sq.QuantizeOp) and is_plain(maker):
            return self.follow(maker)
        rows = matrix_shape(nn.shape_of(value))
        type_ = sq.quant_type(value)
        if type_ is None:
            source = maker.input if isinstance(maker, nn.ReshapeOp) else value
            found = _insert_behind(value, nn.ReshapeOp(source, rows))
        else:
            number = sq.DequantizeOp(value)
            flat = nn.ReshapeOp(number.result, rows)
            again = sq.QuantizeOp(flat.result, type_)
            found = _insert_behind(value, number, flat, again)
        self.made[value] = found
        return found

    def follow(self, op: sq.DequantizeOp | sq.QuantizeOp | Step) -> SSAValue:
        """An op in rows; readers of its numbers find these reshaped."""
        operands = [self._operand(value, op) for value in op.operands]
        match op:
            case sq.DequantizeOp():
                new = sq.DequantizeOp(operands[0])
            case sq.QuantizeOp():
                type_ = sq.quant_type(op.result)
                assert type_ is not None
                new = sq.QuantizeOp(operands[0], type_)
            case nn.UnaryOp():
                new = nn.UnaryOp(op.kind.data, operands[0], op.parameters)
            case nn.BinaryOp():
                new = nn.BinaryOp(op.kind.data, *operands)
        self.put(op, new)
        return new.result

    def put(
        self, op: sq.DequantizeOp | sq.QuantizeOp | Step | nn.LinearOp, new: Operation
    ) -> None:
        """Let `new` make the matrix of what `op` makes; bytes stay as they are too."""
        copy_labels(op, new)
        result, rows = op.result, new.results[0]
        rows.name_hint = result.name_hint
        self.made[result] = rows
        if sq.quant_type(result) is not None:
            _insert_behind(result, new)
            return
        back = nn.ReshapeOp(rows, nn.shape_of(result))
        copy_labels(op, back)
        _insert_behind(result, new, back)
        result.replace_all_uses_with(back.result)
        self.made[back.result] = rows

    def _operand(self, value: SSAValue, op: Operation) -> SSAValue:
        shape, result = nn.shape_of(value), nn.shape_of(op.results[0])
        if shape == result:
            return self.of(value)
        rows = operand_shape(shape, result)
        assert rows is not None
        if rows == shape:
            return value
        return _insert_behind(value, nn.ReshapeOp(value, rows))

    def is_behind(self, op: Operation) -> bool:
        """Whether a layer comes before an op, with nothing but steps between."""
        if not any(value in self.made for value in op.operands):
            return False
        if isinstance(op, sq.DequantizeOp | sq.QuantizeOp):
            return op.results[0] not in self.made and is_plain(op)
        if not isinstance(op, Step):
            return False
        result = nn.shape_of(op.result)
        shapes = [nn.shape_of(value) for value in op.operands]
        return all(operand_shape(shape, result) is not None for shape in shapes)


def is_plain(op: sq.DequantizeOp | sq.QuantizeOp) -> bool:
    """Whether there is one scale."""
    quantized = op.input if isinstance(op, sq.DequantizeOp) else op.result
    type_ = sq.quant_type(quantized)
    return type_ is not None and type_.numbers is not None


def _insert_behind(value: SSAValue, *new: Operation) -> SSAValue:
    """Put ops where `value` is known; the result of the last one."""
    maker = value.owner
    if isinstance(maker, Block):
        first = maker.first_op
        assert first is not None
        maker.insert_ops_before(list(new), first)
    else:
        block = maker.parent
        assert block is not None
        block.insert_ops_after(list(new), maker)
    return new[-1].results[0]


def is_wanted(op: nn.LinearOp, weights: WeightStore) -> bool:
    """Whether a layer could multiply integers, were its input a matrix."""
    if len(nn.shape_of(op.input)) == 2 or stored_of(op.weight) is None:
        return False
    return why_not_as_rows(op, weights) is None


@dataclass(frozen=True)
class FlattenRows(ReportingPass):
    """Let linear layers on bytes read matrices.

    **Before**

    ```mlir
    !x = !sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>
    !w = !sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>
    func.func @main(%x: tensor<2x5x4xf32>) -> tensor<2x5x3xf32> {
      %q = sq.quantize %x : (tensor<2x5x4xf32>) -> tensor<2x5x4x!x>
      %a = sq.dequantize %q : (tensor<2x5x4x!x>) -> tensor<2x5x4xf32>
      %c = nn.constant "w" : tensor<3x4x!w>
      %w = sq.dequantize %c : (tensor<3x4x!w>) -> tensor<3x4xf32>
      %y = nn.linear %a, %w
        : (tensor<2x5x4xf32>, tensor<3x4xf32>) -> tensor<2x5x3xf32>
      %r = nn.unary relu %y : (tensor<2x5x3xf32>) -> tensor<2x5x3xf32>
      func.return %r : tensor<2x5x3xf32>
    }
    ```

    **After**

    ```mlir
    !x = !sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>
    !w = !sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>
    func.func @main(%x: tensor<2x5x4xf32>) -> tensor<2x5x3xf32> {
      %f = nn.reshape %x : (tensor<2x5x4xf32>) -> tensor<10x4xf32>
      %q = sq.quantize %f : (tensor<10x4xf32>) -> tensor<10x4x!x>
      %a = sq.dequantize %q : (tensor<10x4x!x>) -> tensor<10x4xf32>
      %c = nn.constant "w" : tensor<3x4x!w>
      %w = sq.dequantize %c : (tensor<3x4x!w>) -> tensor<3x4xf32>
      %y = nn.linear %a, %w
        : (tensor<10x4xf32>, tensor<3x4xf32>) -> tensor<10x3xf32>
      %r = nn.unary relu %y : (tensor<10x3xf32>) -> tensor<10x3xf32>
      %z = nn.reshape %r : (tensor<10x3xf32>) -> tensor<2x5x3xf32>
      func.return %z : tensor<2x5x3xf32>
    }
    ```
    """

    name = "flatten-rows"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count the `layers` that read matrices now."""
        rows, weights, ops = Rows(), weights_of(ctx), list(op.walk())
        linears = [each for each in ops if isinstance(each, nn.LinearOp)]
        layers = {each for each in linears if is_wanted(each, weights)}
        for each in ops:
            if isinstance(each, nn.LinearOp) and each in layers:
                new = nn.LinearOp(rows.of(each.input), each.weight, each.bias)
                new.attributes.update(each.attributes)
                rows.put(each, new)
            elif rows.is_behind(each):
                assert isinstance(each, sq.DequantizeOp | sq.QuantizeOp | Step)
                rows.follow(each)
        erase_dead(op)
        return {"layers": len(layers)}
