"""Let layers compute in bfloat16: half the bytes, products of two channels at once.

What: the input of a convolution with one group or of a linear layer is cast to bf16,
and so is its result, unless nobody wants it so. Tensors between two such layers, and
ops between them that move or choose values (pooling, slices, concatenation, resizing by
the nearest) hold bf16; the bias, sums, steps of the epilogue and everything else stay
float32. A weight stays float32 in the IR: a product with a bf16 input rounds it. A
linear layer gets all its rows in one dimension. Each layer has an attribute
`sq.why_precision` that says what it computes in and why.

Why: a lane holds two numbers, which one instruction multiplies and adds, and tensors
and weights take half the memory, at whose speed a linear layer on few rows runs.

How: with `precision="bfloat16"` all layers with a kernel are taken (not grouped,
depthwise and recurrent ones, nor computed weights), but for sparse ones that are
predicted faster as they are. With `auto` those are taken that are
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
import numpy.typing as npt
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr, f32
from xdsl.ir import SSAValue

from edgec.context import WeightStore, weights_of
from edgec.dialects import nn, sq
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
from edgec.passes.analysis.predict import (
    predict_bf16,
    predict_bf16_linear,
    predict_conv,
    predict_linear,
    with_margin,
)
from edgec.passes.base import ReportingPass
from edgec.passes.constants import read_constant
from edgec.passes.patterns.halves import (
    Mover,
    drop_casts,
    element_of,
    is_mover,
    lower_layer,
    move_bf16,
    rows_of_extra,
)

WHY = "sq.why_precision"
PRECISIONS = ("bfloat16", "auto")

Layer = sq.ConvOp | sq.LinearOp


def why_float(op: Layer) -> str | None:
    """Why no kernel computes a layer in bfloat16; None if one does."""
    if isinstance(op, sq.LinearOp):
        return _why_float_linear(op)
    if op.groups.value.data > 1:
        return "grouped convolutions have no kernel in bfloat16"
    if len(nn.shape_of(op.weight)) not in (4, 5):
        return f"the weight has rank {len(nn.shape_of(op.weight))}, not 4 or 5"
    if not isinstance(op.weight.owner, nn.ConstantOp | sq.WeightOp):
        return "its weight is computed"
    return None


def _why_float_linear(op: sq.LinearOp) -> str | None:
    shape = nn.shape_of(op.result)
    if any(rows_of_extra(nn.shape_of(extra), shape) is None for extra in op.extras):
        return "an extra operand has a number for several rows"
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
    layers: Sequence[Layer], weights: WeightStore, machine: Machine
) -> list[Candidate]:
    """The layers as `analysis.precision` sees them."""
    numbers: dict[SSAValue | None, int] = {}
    found: list[Candidate] = []
    for number, op in enumerate(layers):
        weight = read_constant(op.weight, weights)
        assert weight is not None
        full, half = _cycles(op, np.asarray(weight, np.float32), machine)
        found.append(
            Candidate(
                full=full,
                half=half,
                cast=conversion_cycles(op.input),
                writer=numbers.get(_origin(op)),
                error=layer_error(np.asarray(weight, np.float32)),
            )
        )
        numbers[op.result] = number
    return found


def _cycles(
    op: Layer, weight: npt.NDArray[np.float32], machine: Machine
) -> tuple[float, float]:
    """The cycles of a layer in float32 and in bfloat16."""
    registers, emulated = machine.registers, machine.emulated
    if isinstance(op, sq.LinearOp):
        prediction, images = predict_linear(op, registers), 1
        half = predict_bf16_linear(op, registers, emulated=emulated)
    else:
        prediction = predict_conv(op, registers, machine.l1_bytes)
        images, tiles = nn.shape_of(op.result)[0], machine.tiles
        half = predict_bf16(op, weight, registers, emulated=emulated, tiles=tiles)
    full = min(with_margin(name, cost) for name, cost in prediction.items())
    return images * full, images * half


def _origin(op: Layer) -> SSAValue | None:
    """What the input of a layer is chosen from, if it could hold bf16 as that does."""
    value, owner = op.input, op.input.owner
    if isinstance(op, sq.LinearOp):
        columns = nn.shape_of(value)[-1]
        if isinstance(owner, nn.ReshapeOp):
            value, owner = owner.input, owner.input.owner
        has_rows = isinstance(owner, sq.LinearOp)
        return value if has_rows and nn.shape_of(value)[-1] == columns else None
    while isinstance(owner, nn.PoolOp | nn.ResizeOp | nn.SliceOp) and is_mover(owner):
        value = owner.input
        owner = value.owner
    return value


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
        sq.why_precision = "bfloat16: predicted 0.91 times as fast, error 0.0017"}
        : tensor<1x2x4x4xbf16>, tensor<2x2x1x1xf32> -> tensor<1x2x4x4xbf16>
      %z = sq.conv %y, %w {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [],
        sq.why_precision = "bfloat16: predicted 1.00 times as fast, error 0.0031"}
        : tensor<1x2x4x4xbf16>, tensor<2x2x1x1xf32> -> tensor<1x2x4x4xf32>
      func.return %z : tensor<1x2x4x4xf32>
    }
    ```
    """

    name = "lower-precision"

    precision: str = "bfloat16"
    """`bfloat16`: layers that have a kernel, but for sparse ones that are predicted
    faster as they are. `auto`: those that are predicted to save time, within the error
    budget."""
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
        layers: list[Layer] = []
        floats = 0
        for layer in op.walk():
            if not isinstance(layer, Layer) or not _is_new(layer):
                continue
            reason = why_float(layer)
            if reason is None:
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
        self, layers: Sequence[Layer], weights: WeightStore
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


def _is_new(layer: Layer) -> bool:
    """Whether a layer is in float32, and nobody has decided about it."""
    values = (layer.input, layer.weight, layer.result, *layer.extras)
    return WHY not in layer.attributes and all(element_of(v) == f32 for v in values)


def _explain(layer: Layer, note: str) -> None:
    layer.attributes[WHY] = StringAttr(note)
