"""Write quantizing and dequantizing as arithmetic in float32.

What: `sq.dequantize` of what `sq.quantize` (or `sq.requantize`) made becomes `nn.unary`
and `nn.binary` ops; of a constant it becomes a float32 constant. So do the ops whose
scales are computed at run time, and the choice of these.

Why: a quantized model runs, with exactly the numbers that torch computes, on the
kernels that there are. Time and memory are those of the float32 model. Kernels on
integers, which save both, take their layers before this pass.

How: integers of one byte are exact in float32, so each step of the definition is one
op: `mul` by `1 / scale`, `round`, `add` of the zero point, `clamp`; then `sub` of the
zero point and `mul` by the scale. Scales and zero points are numbers, or constants with
one entry per channel. All readers share what is dequantized. `fuse` makes the steps the
epilogue of the layer before.

Invariants: needs `nn` and `sq`. Bit by bit the same, each op being rounded by itself.
A pair that shares its quantized tensor with other ops is replaced, and the quantize op
stays for these. Leaves `sq.dequantize` only of what is neither a constant nor
quantized in the same function, and `sq.quantize` only for other readers.

Source: the definitions of torch's `quantized_decomposed` ops; Jacob et al.,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference" (CVPR 2018), section 3, where training simulates quantization so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import (
    BytesAttr,
    DenseIntOrFPElementsAttr,
    ModuleOp,
    TensorType,
    f32,
)
from xdsl.ir import Operation, SSAValue

from edgec.context import WeightStore, weights_of
from edgec.dialects import nn, sq
from edgec.interpreter.arrays import AnyArray
from edgec.interpreter.quant import Parameters, dequantize, parameters_of
from edgec.passes.analysis.quantized import keeps_quads, stored_in_bytes
from edgec.passes.base import ReportingPass
from edgec.passes.constants import MAX_INLINE, constant_name, read_constant
from edgec.passes.patterns.dynamic_quantization import choose, round_trip
from edgec.passes.patterns.rewriting import copy_labels

MADE_BY = (
    sq.DequantizeOp,
    sq.DequantizeDynamicOp,
    sq.RequantizeOp,
    sq.QuantizeOp,
    sq.QuantizeDynamicOp,
    nn.ConstantOp,
)
"""Ops that go when what they make is not read any more."""


STATISTICS = ("pairs", "constants", "shared", "choices")


@dataclass
class Decomposer:
    """What has been written in float32 so far, in one module."""

    weights: WeightStore
    values: dict[SSAValue, SSAValue] = field(default_factory=dict[SSAValue, SSAValue])
    """Quantized tensor → what it stands for."""
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATISTICS, 0))

    def dequantized(self, q: SSAValue) -> SSAValue | None:
        """What a quantized tensor stands for; None if its maker is not known."""
        if q in self.values:
            self.counts["shared"] += 1
            return self.values[q]
        type_, maker = sq.quant_type(q), q.owner
        assert type_ is not None
        array = read_constant(q, self.weights)
        if isinstance(maker, sq.QuantizeDynamicOp):
            value = round_trip(maker)
            self.counts["pairs"] += 1
        elif array is not None and not type_.is_dynamic:
            value = self._constant(dequantize(array, type_, self.weights), q)
            self.counts["constants"] += 1
        elif isinstance(maker, Operation) and keeps_quads(maker):
            moved = self._moved(maker)
            if moved is None:
                return None
            value = moved
        else:
            integers = self._integers(q)
            if integers is None:
                return None
            value = self._dequantize(integers, q)
            self.counts["pairs"] += 1
        self.values[q] = value
        return value

    def _moved(self, maker: Operation) -> SSAValue | None:
        """An op that moves or chooses quantized values, on what they stand for."""
        values = [self.dequantized(value) for value in maker.operands]
        sources = [value for value in values if value is not None]
        if len(sources) < len(values):
            return None
        result = maker.results[0]
        if isinstance(maker, sq.ShuffleChannelsOp):
            return self._shuffled(maker, sources[0])
        new = type(maker).create(
            operands=sources,
            result_types=[TensorType(f32, nn.shape_of(result))],
            properties=dict(maker.properties),
            attributes=dict(maker.attributes),
        )
        return self._insert(new, result)

    def _shuffled(self, op: sq.ShuffleChannelsOp, source: SSAValue) -> SSAValue:
        """Channels of float32 in that order."""
        shape = nn.shape_of(source)
        parts = self._insert(nn.ReshapeOp(source, op.parts()), op.result)
        order = (0, 2, 1, *range(3, len(shape) + 1))
        turned = self._insert(nn.TransposeOp(parts, order), op.result)
        return self._insert(nn.ReshapeOp(turned, shape), op.result)

    def _integers(self, q: SSAValue) -> SSAValue | None:
        """The integers of a quantized tensor in float32."""
        op, type_ = q.owner, sq.quant_type(q)
        assert type_ is not None
        x = None
        if isinstance(op, sq.QuantizeOp):
            x = op.input
        elif isinstance(op, sq.RequantizeOp):
            x = self.dequantized(op.input)
        if x is None:
            return None
        numbers = self._parameters(q)
        scaled = self._binary("mul", x, numbers.inverse, q)
        rounded = self._insert(nn.UnaryOp("round", scaled), q)
        # Also if it is 0: integers have no -0.
        moved = self._binary("add", rounded, numbers.zero_point, q)
        ends = (float(type_.low), float(type_.high))
        return self._insert(nn.UnaryOp("clamp", moved, ends), q)

    def _dequantize(self, integers: SSAValue, q: SSAValue) -> SSAValue:
        numbers = self._parameters(q)
        if numbers.zero_point.any():
            integers = self._binary("sub", integers, numbers.zero_point, q)
        return self._binary("mul", integers, numbers.scale, q)

    def _parameters(self, q: SSAValue) -> Parameters:
        type_ = sq.quant_type(q)
        assert type_ is not None
        return parameters_of(type_, nn.shape_of(q), self.weights)

    def _binary(self, kind: str, x: SSAValue, array: AnyArray, q: SSAValue) -> SSAValue:
        constant = self._constant(array, q)
        return self._insert(nn.BinaryOp(kind, x, constant), q)

    def _constant(self, array: AnyArray, q: SSAValue) -> SSAValue:
        """A float32 constant; a single number stands in the IR, as in the type."""
        type_ = TensorType(f32, array.shape)
        value: str | DenseIntOrFPElementsAttr = f"{constant_name(q)}.float"
        if array.ndim == 0 or (not self.weights and array.size <= MAX_INLINE):
            data = BytesAttr(np.ascontiguousarray(array).tobytes())
            value = DenseIntOrFPElementsAttr(type_, data)
        else:
            value = self.weights.add(value, array)
        return self._insert(nn.ConstantOp(value, type_), q)

    def _insert(self, op: Operation, q: SSAValue) -> SSAValue:
        """Put `op` before the maker of `q`, labelled like it."""
        maker = q.owner
        assert isinstance(maker, Operation)
        assert maker.parent is not None
        copy_labels(maker, op)
        maker.parent.insert_op_before(op, maker)
        return op.results[0]


@dataclass(frozen=True)
class DecomposeQuantization(ReportingPass):
    """Write quantizing and dequantizing as arithmetic in float32.

    **Before**

    ```mlir
    func.func @main(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
      %q = sq.quantize %x : (tensor<2x3xf32>)
        -> tensor<2x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
      %y = sq.dequantize %q
        : (tensor<2x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>)
        -> tensor<2x3xf32>
      func.return %y : tensor<2x3xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
      %i = nn.constant dense<2.0> : tensor<f32>
      %0 = nn.binary mul %x, %i : (tensor<2x3xf32>, tensor<f32>) -> tensor<2x3xf32>
      %1 = nn.unary round %0 : (tensor<2x3xf32>) -> tensor<2x3xf32>
      %z = nn.constant dense<128.0> : tensor<f32>
      %2 = nn.binary add %1, %z : (tensor<2x3xf32>, tensor<f32>) -> tensor<2x3xf32>
      %3 = nn.unary clamp %2 {params = array<f64: 0.0, 255.0>}
        : (tensor<2x3xf32>) -> tensor<2x3xf32>
      %o = nn.constant dense<128.0> : tensor<f32>
      %4 = nn.binary sub %3, %o : (tensor<2x3xf32>, tensor<f32>) -> tensor<2x3xf32>
      %s = nn.constant dense<0.5> : tensor<f32>
      %y = nn.binary mul %4, %s : (tensor<2x3xf32>, tensor<f32>) -> tensor<2x3xf32>
      func.return %y : tensor<2x3xf32>
    }
    ```
    """

    name = "decompose-quantization"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count what was dequantized: `pairs`, `constants`, and `shared` ones again.

        `choices` are scales computed at run time.
        """
        decomposer, stored = Decomposer(weights_of(ctx)), stored_in_bytes(op)
        for old in list(op.walk()):
            if isinstance(old, sq.ChooseQparamsOp):
                for result, new in zip(old.results, choose(old), strict=True):
                    result.replace_all_uses_with(new)
                old.detach()
                old.erase()
                decomposer.counts["choices"] += 1
            if not isinstance(old, sq.DequantizeOp | sq.DequantizeDynamicOp):
                continue
            if old.input in stored:
                continue
            value = decomposer.dequantized(old.input)
            if value is None:
                continue
            if value.name_hint is None:
                value.name_hint = old.result.name_hint
            old.result.replace_all_uses_with(value)
            _erase_unread(old)
        return decomposer.counts


def _erase_unread(op: Operation) -> None:
    """Erase `op` and what made its inputs, as long as nobody reads it."""
    is_made = isinstance(op, MADE_BY) or keeps_quads(op)
    # What two of its readers share is gone with the first one.
    is_gone = op.parent is None
    if is_gone or not is_made or op.results[0].first_use:
        return
    sources = [value.owner for value in op.operands]
    op.detach()
    op.erase()
    for source in dict.fromkeys(sources):
        if isinstance(source, Operation):
            _erase_unread(source)
