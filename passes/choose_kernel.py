"""What: choose the kernel family of every convolution, dense or sparse, by cost.

Why: a sparse kernel loads once per multiply and pays for addresses; below some saving
the dense kernel, which shares each load among a block of filters, is faster. A sparse
layer must never be slower than the same layer dense.

How: predict the cycles of both families from their schedules (`edgec.kernels.cost`);
keep the encoding if it wins, else decode the weights to a dense constant. Depthwise
layers have a family of their own. The choice and the prediction stand in `kernel` and
`sq.why`.

Invariants: needs `sq.conv` (after `fuse`); leaves every `sq.conv` of rank 4 with a
`kernel`. Values do not change.

Source: the rule is this project's; the cost model counts ports as in Agner Fog's
microarchitecture manual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr, TensorType
from xdsl.ir import OpResult

from edgec.context import weights_of
from edgec.dialects import nn, sq
from edgec.errors import InvalidInput, PassFailed
from edgec.kernels.cost import (
    Registers,
    best_block,
    best_columns_block,
    best_tile,
    columns_cycles,
    dense_cycles,
    pattern_cycles,
)
from edgec.passes.analysis.sparse import column_layer, sparse_layer
from edgec.passes.base import ReportingPass


@dataclass(frozen=True)
class Prediction:
    """Cycles of one core for one image."""

    dense: float
    sparse: float | None
    """None if there is no sparse kernel for the weights."""

    @property
    def is_sparse_faster(self) -> bool:
        """Whether the sparse kernel is predicted to win."""
        return self.sparse is not None and self.sparse < self.dense


def predict(op: sq.ConvOp, registers: Registers, l1_bytes: int) -> Prediction:
    """Both families' cycles for one convolution."""
    weight, result = nn.shape_of(op.weight), nn.shape_of(op.result)
    groups = op.groups.value.data
    taps = weight[2] * weight[3]
    positions, filters = result[2] * result[3], weight[0] // groups
    columns = weight[1] * taps
    shape = {"positions": positions, "filters": filters, "columns": columns}
    block = best_block(registers, **shape)
    dense = groups * dense_cycles(block, lanes=registers.lanes, **shape)
    encoding, lanes = nn.tensor_type(op.weight).encoding, registers.lanes
    if groups > 1:
        return Prediction(dense, None)
    if isinstance(encoding, sq.ColumnsAttr):
        columns = column_layer(op, encoding, positions)
        best = best_columns_block(columns, registers)
        return Prediction(dense, columns_cycles(columns, best, lanes=lanes))
    if isinstance(encoding, sq.PatternAttr):
        layer = sparse_layer(op, encoding)
        tile = best_tile(layer, registers, l1_bytes)
        return Prediction(dense, pattern_cycles(layer, tile, lanes=lanes))
    return Prediction(dense, None)


def check_ranks(module: ModuleOp) -> None:
    """Raise one error that names every convolution that no kernel can run."""
    layers = [
        f"{layer_of(op)} (weight {'x'.join(map(str, nn.shape_of(op.weight)))})"
        for op in module.walk()
        if isinstance(op, sq.ConvOp) and len(nn.shape_of(op.weight)) != 4
    ]
    if layers:
        raise PassFailed(
            "kernels need convolutions of rank 4: canonicalize-nn brings 1-D ones to "
            f"it, 3-D ones are not supported; found {', '.join(layers)}"
        )


def layer_of(op: sq.ConvOp) -> str:
    """The module path of a layer, for messages."""
    path = op.attributes.get("nn.path")
    return path.data if isinstance(path, StringAttr) else op.name


FAMILIES = ("dense", "depthwise", "pattern", "columns")
"""Families of convolution kernels."""


@dataclass(frozen=True)
class ChooseKernel(ReportingPass):
    """Set `kernel` on every `sq.conv`.

    **Before**

    ```mlir
    func.func @main(%x: tensor<1x8x6x6xf32>) -> tensor<1x8x4x4xf32> {
      %w = nn.constant "w" : tensor<8x1x3x3xf32>
      %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>,
        padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 8 : i64,
        epilogue = []}
        : tensor<1x8x6x6xf32>, tensor<8x1x3x3xf32> -> tensor<1x8x4x4xf32>
      func.return %y : tensor<1x8x4x4xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<1x8x6x6xf32>) -> tensor<1x8x4x4xf32> {
      %w = nn.constant "w" : tensor<8x1x3x3xf32>
      %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>,
        padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 8 : i64,
        epilogue = [], kernel = #sq.kernel<"depthwise">}
        : tensor<1x8x6x6xf32>, tensor<8x1x3x3xf32> -> tensor<1x8x4x4xf32>
      func.return %y : tensor<1x8x4x4xf32>
    }
    ```
    """

    name = "choose-kernel"

    lanes: int = 8
    """f32 lanes of a vector register."""
    registers: int = 16
    """Number of vector registers."""
    l1_bytes: int = 32768
    """Level 1 data cache of a core."""
    force: str | None = None
    """`sparse` or `dense`: choose that wherever it exists, whatever it costs."""

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count the families chosen, and the sparse layers that run dense."""
        if self.force not in (None, "sparse", "dense"):
            raise InvalidInput(
                "option `force` of choose-kernel must be 'sparse' or 'dense', "
                f"got '{self.force}'"
            )
        counts: dict[str, int] = dict.fromkeys((*FAMILIES, "decoded"), 0)
        registers = Registers(self.lanes, self.registers)
        check_ranks(op)
        for conv in [o for o in op.walk() if isinstance(o, sq.ConvOp)]:
            if conv.kernel is not None:
                continue
            family = self._family(conv, registers)
            encoded = isinstance(conv.weight.owner, sq.WeightOp)
            if encoded and family in ("dense", "depthwise"):
                decode(ctx, conv)
                counts["decoded"] += 1
            conv.properties["kernel"] = sq.KernelAttr.of(family, {})
            counts[family] += 1
        return counts

    def _family(self, conv: sq.ConvOp, registers: Registers) -> str:
        groups, weight = conv.groups.value.data, nn.shape_of(conv.weight)
        if groups == nn.shape_of(conv.input)[1] and weight[1] == 1 and groups > 1:
            return "depthwise"
        prediction = predict(conv, registers, self.l1_bytes)
        if prediction.sparse is None:
            return "dense"
        wins = {"sparse": True, "dense": False}.get(
            self.force or "", prediction.is_sparse_faster
        )
        ratio = prediction.dense / max(prediction.sparse, 1.0)
        is_columns = isinstance(nn.tensor_type(conv.weight).encoding, sq.ColumnsAttr)
        family = "columns" if is_columns else "pattern"
        verdict = f"{family} kernel" if wins else "runs dense"
        conv.attributes["sq.why"] = StringAttr(
            f"{verdict}: predicted dense / sparse = {ratio:.2f}"
        )
        return family if wins else "dense"


def decode(ctx: Context, conv: sq.ConvOp) -> None:
    """Replace an encoded weight by a dense constant with the same values."""
    assert isinstance(conv.weight, OpResult)
    source = conv.weight.owner
    assert isinstance(source, sq.WeightOp)
    store = weights_of(ctx)
    names = source.resource_names()
    arrays = {key: store[name] for key, name in names.items()}
    type_ = nn.tensor_type(source.result)
    shape = type_.get_shape()
    dense = source.encoding.decode(arrays, shape)
    name = store.add(f"{names['weight']}.dense", dense)
    constant = nn.ConstantOp(name, TensorType(type_.element_type, shape))
    block = source.parent_block()
    assert block is not None
    block.insert_op_before(constant, source)
    conv.operands[1] = constant.result
    if not source.result.uses:
        source.detach()
        source.erase()
