"""Let layers compute in bfloat16: half the bytes, products of two channels at once.

What: the input of a convolution with one group is cast to bf16, and so is its result,
unless nobody wants it so. Tensors between two such layers, and ops between them that
move or choose values (pooling, slices, concatenation, resizing by the nearest) hold
bf16; the bias, sums, steps of the epilogue and everything else stay float32. A weight
stays float32 in the IR: a product with a bf16 input rounds it. Each layer has an
attribute `sq.why_precision` that says what it computes in and why.

Why: a lane holds two numbers, which one instruction multiplies and adds, and tensors
and weights take half the memory.

How: with `precision="bfloat16"` all layers are taken that have a kernel, but for
sparse ones that are predicted faster as they are. With `auto` those are taken that are
predicted to save time, casts included, and of them as many as the error budget allows,
the most time for the least error first (`analysis.precision`).

Invariants: needs fused ops (after `fuse`): steps between a product and its cast would
hide it. Arguments and results of the function stay float32. A layer that is taken has
its weight decoded: kernels of bfloat16 leave out zero columns by themselves.

Source: Kalamkar et al., "A Study of BFLOAT16 for Deep Learning Training" (2019), for
what the format costs networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr, TensorType, bf16, f32
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.rewriter import Rewriter

from edgec.context import WeightStore, weights_of
from edgec.dialects import nn, sq
from edgec.dialects.bf16 import PAIR
from edgec.errors import InvalidInput
from edgec.kernels.cost import Registers
from edgec.passes.analysis.choices import conversion_cycles
from edgec.passes.analysis.precision import (
    Candidate,
    faster_layers,
    layer_error,
    total_error,
    within_budget,
)
from edgec.passes.analysis.predict import predict_bf16, predict_conv, with_margin
from edgec.passes.base import ReportingPass
from edgec.passes.constants import decode_weight, read_constant
from edgec.passes.patterns.rewriting import erase_dead

WHY = "sq.why_precision"
PRECISIONS = ("bfloat16", "auto")

Mover = nn.PoolOp | nn.ConcatOp | nn.ResizeOp | nn.SliceOp
"""Ops that take tensors of bf16 as they are."""


def why_float(op: sq.ConvOp | sq.LinearOp) -> str | None:
    """Why no kernel computes a layer in bfloat16; None if one does."""
    if isinstance(op, sq.LinearOp):
        return "linear layers have no kernel in bfloat16"
    if op.groups.value.data > 1:
        return "grouped convolutions have no kernel in bfloat16"
    if len(nn.shape_of(op.weight)) not in (4, 5):
        return f"the weight has rank {len(nn.shape_of(op.weight))}, not 4 or 5"
    if not isinstance(op.weight.owner, nn.ConstantOp | sq.WeightOp):
        return "its weight is computed"
    return None


# What each layer costs


@dataclass(frozen=True)
class Machine:
    """What predictions depend on."""

    registers: Registers
    l1_bytes: int
    emulated: bool
    """The target has no dot product of bfloat16."""
    tiles: bool
    """The target multiplies tiles."""


def candidates_of(
    layers: Sequence[sq.ConvOp], weights: WeightStore, machine: Machine
) -> list[Candidate]:
    """The layers as `analysis.precision` sees them."""
    numbers: dict[SSAValue, int] = {}
    found: list[Candidate] = []
    for number, op in enumerate(layers):
        weight = read_constant(op.weight, weights)
        assert weight is not None
        prediction = predict_conv(op, machine.registers, machine.l1_bytes)
        full = min(with_margin(name, cost) for name, cost in prediction.items())
        half = predict_bf16(
            op,
            weight,
            machine.registers,
            emulated=machine.emulated,
            tiles=machine.tiles,
        )
        images = nn.shape_of(op.result)[0]
        found.append(
            Candidate(
                full=images * full,
                half=images * half,
                cast=conversion_cycles(op.input),
                writer=numbers.get(_origin(op.input)),
                error=layer_error(np.asarray(weight, np.float32)),
            )
        )
        numbers[op.result] = number
    return found


def _origin(value: SSAValue) -> SSAValue:
    """What a tensor is chosen from, if that is one tensor."""
    owner = value.owner
    while isinstance(owner, nn.PoolOp | nn.ResizeOp | nn.SliceOp) and is_mover(owner):
        value = owner.input
        owner = value.owner
    return value


# The rewrite


def cast(value: SSAValue, element: Attribute) -> SSAValue:
    """The tensor in another precision; casts there and back are left out."""
    held = held_bf16(value)
    if held is not None and element == bf16:
        return held
    for use in value.uses:
        reader = use.operation
        if isinstance(reader, nn.CastOp) and _element(reader.result) == element:
            return reader.result
    op, owner = nn.CastOp(value, element), value.owner
    if isinstance(owner, Operation):
        block = owner.parent_block()
        assert block is not None
        block.insert_op_after(op, owner)
    else:
        first = owner.first_op
        assert first is not None
        owner.insert_op_before(op, first)
    return op.result


def held_bf16(value: SSAValue) -> SSAValue | None:
    """The tensor of bf16 that a float32 one is a cast of; None if it is another."""
    owner = value.owner
    if isinstance(owner, nn.CastOp) and sq.has_bf16(owner.input):
        return owner.input
    return None


def _element(value: SSAValue) -> Attribute:
    return nn.tensor_type(value).element_type


def retype(value: SSAValue, element: Attribute) -> SSAValue:
    """Give a result another element type."""
    type_ = TensorType(element, nn.shape_of(value))
    return Rewriter.replace_value_with_new_type(value, type_)


def hold_bf16(op: Operation) -> None:
    """Let the result of an op hold bf16; all readers get it back in float32."""
    readers = list(op.results[0].uses)
    result = retype(op.results[0], bf16)
    back = nn.CastOp(result, f32)
    block = op.parent_block()
    assert block is not None
    block.insert_op_after(back, op)
    for use in readers:
        use.operation.operands[use.index] = back.result


def lower_layer(op: sq.ConvOp, ctx: Context) -> None:
    """Let a layer compute in bfloat16."""
    if isinstance(op.weight.owner, sq.WeightOp):
        decode_weight(op, weights_of(ctx))
    op.operands[0] = cast(op.input, bf16)
    for number, extra in enumerate(op.extras):
        held = held_bf16(extra)
        if held is not None and nn.shape_of(extra) == nn.shape_of(op.result):
            first = len(op.operands) - len(op.extras)
            op.operands[first + number] = held
    # What steps make of a filter that fills a pair may be infinite.
    if nn.shape_of(op.result)[1] % PAIR == 0:
        hold_bf16(op)


def is_mover(op: Operation) -> bool:
    """Whether an op can take bf16, if its operands are such."""
    if isinstance(op, nn.ConcatOp):
        *before, _ = [nn.shape_of(value) for value in op.inputs]
        is_whole = all(shape[1] % PAIR == 0 for shape in before)
        return op.axis.value.data == 1 and len(before[0]) > 2 and is_whole
    if isinstance(op, nn.SliceOp):
        before, after = nn.shape_of(op.input), nn.shape_of(op.result)
        return len(before) > 2 and before[1] == after[1]
    if isinstance(op, nn.ResizeOp):
        return op.kind.data is nn.ResizeKind.NEAREST
    return isinstance(op, nn.PoolOp)


def is_wanted(value: SSAValue) -> bool:
    """Whether something reads a tensor in bf16, or would if it were."""
    readers = [use.operation for use in value.uses]
    return any(
        (isinstance(reader, nn.CastOp) and sq.has_bf16(reader.result))
        or (is_mover(reader) and is_wanted(reader.results[0]))
        for reader in readers
    )


def move_bf16(op: Operation) -> bool:
    """Let an op between layers in bfloat16 take bf16; whether it does."""
    found = map(held_bf16, op.operands)
    held = [value for value in found if value is not None]
    if len(held) < len(op.operands) or not is_mover(op):
        return False
    if not is_wanted(op.results[0]):
        return False
    for number, value in enumerate(held):
        op.operands[number] = value
    hold_bf16(op)
    return True


def drop_casts(module: ModuleOp) -> None:
    """Leave out casts there and back, and what is rounded for nobody."""
    for op in list(module.walk()):
        if isinstance(op, nn.CastOp) and sq.has_bf16(op.result):
            found = cast(op.input, bf16)
            if found is not op.result:
                op.result.replace_all_uses_with(found)
    erase_dead(module)
    for op in list(module.walk()):
        if not isinstance(op, sq.ConvOp) or not sq.has_bf16(op.result):
            continue
        readers = [use.operation for use in op.result.uses]
        if all(isinstance(reader, nn.CastOp) for reader in readers):
            result = retype(op.result, f32)
            for reader in readers:
                reader.results[0].replace_all_uses_with(result)
    erase_dead(module)


@dataclass(frozen=True)
class LowerPrecision(ReportingPass):
    """Let layers compute in bfloat16.

    **Before**

    ```mlir
    func.func @main(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32> {
      %v = nn.constant dense<1.0> : tensor<2x2x1x1xf32>
      %w = nn.constant dense<0.3> : tensor<2x2x1x1xf32>
      %y = sq.conv %x, %v {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64,
        epilogue = [#sq.step<"relu">]}
        : tensor<1x2x4x4xf32>, tensor<2x2x1x1xf32> -> tensor<1x2x4x4xf32>
      %z = sq.conv %y, %w {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []}
        : tensor<1x2x4x4xf32>, tensor<2x2x1x1xf32> -> tensor<1x2x4x4xf32>
      func.return %z : tensor<1x2x4x4xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32> {
      %b = nn.cast %x : (tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xbf16>
      %v = nn.constant dense<1.0> : tensor<2x2x1x1xf32>
      %w = nn.constant dense<0.3> : tensor<2x2x1x1xf32>
      %y = sq.conv %b, %v {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64,
        epilogue = [#sq.step<"relu">],
        sq.why_precision = "bfloat16: predicted 0.91 times as fast, error 0.0015"}
        : tensor<1x2x4x4xbf16>, tensor<2x2x1x1xf32> -> tensor<1x2x4x4xbf16>
      %z = sq.conv %y, %w {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [],
        sq.why_precision = "bfloat16: predicted 1.00 times as fast, error 0.0030"}
        : tensor<1x2x4x4xbf16>, tensor<2x2x1x1xf32> -> tensor<1x2x4x4xf32>
      func.return %z : tensor<1x2x4x4xf32>
    }
    ```
    """

    name = "lower-precision"

    precision: str = "bfloat16"
    """`bfloat16`: every layer that has a kernel. `auto`: where it is predicted faster
    and the error budget allows it."""
    error_budget: float = 0.03
    """For `auto`: the estimated relative error that all layers together may have."""
    lanes: int = 8
    """f32 lanes of a vector register."""
    registers: int = 16
    """Number of vector registers."""
    l1_bytes: int = 32768
    """Level 1 data cache of a core."""
    emulated: bool = False
    """The target has no dot product of bfloat16."""
    tiles: bool = False
    """The target multiplies tiles of bfloat16."""

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count layers of either kind, casts, and the estimated error in millionths."""
        if self.precision not in PRECISIONS:
            raise InvalidInput(
                f"option `precision` of lower-precision must be one of "
                f"{list(PRECISIONS)}, got '{self.precision}'"
            )
        layers: list[sq.ConvOp] = []
        floats = 0
        for layer in op.walk():
            if not isinstance(layer, sq.ConvOp | sq.LinearOp) or not _is_new(layer):
                continue
            reason = why_float(layer)
            if reason is None and isinstance(layer, sq.ConvOp):
                layers.append(layer)
            else:
                _explain(layer, f"float32: {reason}")
                floats += 1
        chosen, errors = self._choose(layers, weights_of(ctx))
        for number in sorted(chosen):
            lower_layer(layers[number], ctx)
        movers = [o for o in op.walk() if isinstance(o, Mover)]
        moved = sum(move_bf16(mover) for mover in movers)
        drop_casts(op)
        casts = sum(
            isinstance(o, nn.CastOp) and sq.has_bf16(o.input, o.result)
            for o in op.walk()
        )
        return {
            "bfloat16": len(chosen),
            "float32": floats + len(layers) - len(chosen),
            "moved": moved,
            "casts": casts,
            "error_millionths": round(1e6 * total_error(errors)),
        }

    def _choose(
        self, layers: Sequence[sq.ConvOp], weights: WeightStore
    ) -> tuple[set[int], list[float]]:
        """The numbers of the layers that are taken, and their errors."""
        machine = Machine(
            Registers(self.lanes, self.registers),
            self.l1_bytes,
            self.emulated,
            self.tiles,
        )
        candidates = candidates_of(layers, weights, machine)
        if self.precision == "auto":
            faster = faster_layers(candidates)
            chosen = within_budget(candidates, faster, self.error_budget)
        else:
            faster = chosen = {
                number
                for number, (op, candidate) in enumerate(
                    zip(layers, candidates, strict=True)
                )
                if isinstance(op.weight.owner, nn.ConstantOp) or candidate.ratio > 1
            }
        for number, candidate in enumerate(candidates):
            ratio = f"predicted {candidate.ratio:.2f} times as fast"
            error = f"error {candidate.error:.4f}"
            if number in chosen:
                note = f"bfloat16: {ratio}, {error}"
            elif number in faster:
                note = f"float32: bfloat16 {ratio}, but {error} is beyond the budget"
            else:
                note = f"float32: bfloat16 {ratio}, before casts"
            _explain(layers[number], note)
        return chosen, [candidates[number].error for number in sorted(chosen)]


def _is_new(layer: sq.ConvOp | sq.LinearOp) -> bool:
    """Whether a layer is in float32, and nobody has decided about it."""
    values = (layer.input, layer.weight, layer.result, *layer.extras)
    return WHY not in layer.attributes and all(_element(v) == f32 for v in values)


def _explain(layer: sq.ConvOp | sq.LinearOp, note: str) -> None:
    layer.attributes[WHY] = StringAttr(note)
