"""What: choose the kernel family of every convolution and linear layer, by cost.

Why: a sparse kernel loads once per multiply and pays for addresses; below some saving
the dense kernel, which shares each load among a block of filters, is faster. A sparse
layer must never be slower than the same layer dense.

How: predict the cycles of every family that can run the layer from their schedules
(`edgec.kernels.cost`), and take the choice for all layers together that needs the
fewest, with the conversions between layers whose layouts differ (`analysis.choices`).
A sparse kernel counts with `LEAST_GAIN`, as predictions have errors.
A layer that is chosen to run dense has its weights decoded. Linear layers have a family
for few rows (`columns`) and one for many (`conv`, which `sparse-linear` makes a
convolution); depthwise layers have one of their own, and so have convolutions of
integers and of bfloat16, whose kept columns are counted here (and one more, `tiles`,
where the target multiplies tiles); linear layers on integers read codes of as few bits
as the weight needs (`codes`), or run as convolutions on `tiles`, as those of bfloat16
may; a recurrent layer runs as its weight is stored. The
choice and the prediction of the layer by itself stand in `kernel` and `sq.why`. A layer
that a tuning log knows has the family and the schedule that were measured.

Invariants: needs `sq.conv` of rank 4 or 5 and `sq.linear` (after `fuse`); leaves every
`sq.conv` and every `sq.linear` with encoded weights with a `kernel`. Values do not
change.

Source: Anderson and Gregg, Optimal DNN primitive selection with partitioned boolean
quadratic programming (CGO 2018); the cost model counts ports as in Agner Fog's
microarchitecture manual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr, UnitAttr
from xdsl.ir import Operation

from edgec.context import WeightStore, tuned_of, weights_of
from edgec.dialects import nn, sq
from edgec.errors import InvalidInput, PassFailed
from edgec.kernels import cost_pairs
from edgec.kernels.conv.depthwise_quads import is_bounded_anyhow
from edgec.kernels.conv.lower_quads import ending_of
from edgec.kernels.conv.pairs import as_pairs, count_pair_columns
from edgec.kernels.conv.quad_columns import (
    BOUNDED,
    EMULATED,
    FITS,
    count_columns,
    count_wide_columns,
    keep_columns,
)
from edgec.kernels.conv.quads import as_quads
from edgec.kernels.conv.tile_columns import count_groups, keep_groups
from edgec.kernels.cost import Registers
from edgec.kernels.cost_quads import candidates
from edgec.kernels.cost_tiles import candidates as tile_candidates
from edgec.kernels.linear.lower_codes import FAMILY, code_settings
from edgec.passes.analysis.choices import Layer, choose
from edgec.passes.analysis.layer_key import layer_key
from edgec.passes.analysis.predict import (
    Prediction,
    families_of,
    is_least,
    predict_conv,
    predict_linear,
    predict_recurrent,
    with_margin,
)
from edgec.passes.analysis.settings import why_not
from edgec.passes.base import ReportingPass
from edgec.passes.constants import decode_weight, read_constant
from edgec.tuning_log import Entry


def check_ranks(module: ModuleOp) -> None:
    """Raise one error that names every convolution that no kernel can run."""
    layers = [
        f"{layer_of(op)} (weight {'x'.join(map(str, nn.shape_of(op.weight)))})"
        for op in module.walk()
        if isinstance(op, sq.ConvOp) and len(nn.shape_of(op.weight)) not in (4, 5)
    ]
    if layers:
        raise PassFailed(
            "kernels need convolutions of rank 4 or 5, to which canonicalize-nn brings "
            f"1-D ones; found {', '.join(layers)}"
        )


def layer_of(op: Layer) -> str:
    """The module path of a layer, for messages."""
    path = op.attributes.get("nn.path")
    return path.data if isinstance(path, StringAttr) else op.name


Weighted = Layer | nn.RecurrentOp
"""Layers whose weights may be stored sparse."""

FAMILIES = (
    *("dense", "depthwise", "pattern", "columns"),
    *("quads", "quad_depthwise", "tiles", "pairs"),
)
"""Families of convolution kernels."""


@dataclass(frozen=True)
class ChooseKernel(ReportingPass):
    """Set `kernel` on every `sq.conv` and on sparse `sq.linear`.

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
    bounded: bool = False
    """The target has no dot product of bytes: pairs of products must fit 16 bits."""
    emulated: bool = False
    """The target has no dot product of bfloat16."""
    tiles: bool = False
    """The target multiplies tiles of bytes; else a tuning log alone chooses `tiles`."""
    pair_tiles: bool = False
    """The same of bfloat16."""

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count the families chosen, and the sparse layers that run dense."""
        if self.force not in (None, "sparse", "dense"):
            raise InvalidInput(
                "option `force` of choose-kernel must be 'sparse' or 'dense', "
                f"got '{self.force}'"
            )
        names = (
            *FAMILIES,
            *("linear_columns", "linear_conv", "linear_codes", "linear_tiles"),
            *("recurrent_columns", "decoded", "measured"),
        )
        counts: dict[str, int] = dict.fromkeys(names, 0)
        registers = Registers(self.lanes, self.registers)
        check_ranks(op)
        for recurrent in [o for o in op.walk() if isinstance(o, nn.RecurrentOp)]:
            self._recurrent(ctx, recurrent, registers, counts)
        layers = [o for o in op.walk() if isinstance(o, sq.ConvOp | sq.LinearOp)]
        for layer in layers:
            self._count(ctx, layer, registers)
        measured = self._measured(ctx, layers)
        families = self._choose(op, layers, measured, registers)
        for layer in layers:
            if layer.kernel is None:
                entry, weights = measured.get(layer), weights_of(ctx)
                is_sparse = isinstance(layer.weight.owner, sq.WeightOp)
                if is_sparse or "tiles" in families_of(layer):
                    self._explain(layer, families[layer], registers, entry)
                self._take(layer, families[layer], entry, weights, counts)
        return counts

    def _take(
        self,
        layer: Layer,
        family: str,
        entry: Entry | None,
        weights: WeightStore,
        counts: dict[str, int],
    ) -> None:
        """Give a layer its kernel, and count it; a dense linear layer needs none."""
        is_linear = isinstance(layer, sq.LinearOp)
        counts["measured"] += entry is not None
        if isinstance(layer.weight.owner, sq.WeightOp) and family == "dense":
            decode_weight(layer, weights)
            counts["decoded"] += 1
        if is_linear and family == "dense":
            return
        settings: Mapping[str, int] = entry.settings if entry else {}
        if isinstance(layer, sq.LinearOp) and family == FAMILY:
            settings = code_settings(layer, weights, self.lanes)
        layer.properties["kernel"] = sq.KernelAttr.of(family, settings)
        counts[f"linear_{family}" if is_linear else family] += 1

    def _count(self, ctx: Context, layer: Layer, registers: Registers) -> None:
        """Say what a layer keeps, where its cost and kernel depend on it."""
        if sq.has_integers(layer.input):
            self._count_quads(ctx, layer, registers)
        elif sq.has_bf16(layer.input):
            if self.emulated:
                layer.attributes[EMULATED] = UnitAttr()
            self._count_pairs(ctx, layer, registers)

    def _count_quads(self, ctx: Context, layer: Layer, registers: Registers) -> None:
        """Of an integer layer."""
        weight = read_constant(layer.weight, weights_of(ctx))
        if weight is None:
            raise PassFailed(
                f"the weight of {layer_of(layer)} must be a constant, "
                f"got {layer.weight}"
            )
        to = ending_of(layer, weights_of(ctx)).to
        if to is not None and to.bounded:
            layer.attributes[FITS] = UnitAttr()
        if isinstance(layer, sq.LinearOp):
            is_flat = len(nn.shape_of(layer.input)) == 2
            if is_flat and self._wants_tiles(ctx, layer):
                self._keep_groups(layer, as_quads(weight, len(weight)))
        elif layer.groups.value.data > 1:
            if self.bounded and is_bounded_anyhow(weight):
                layer.attributes[BOUNDED] = UnitAttr()
        else:
            blocks = candidates(registers)
            wide = count_wide_columns(weight, blocks) if self.bounded else None
            keep_columns(layer, count_columns(weight, blocks), wide)
            if self._wants_tiles(ctx, layer):
                self._keep_groups(layer, as_quads(weight, len(weight)))

    def _count_pairs(self, ctx: Context, layer: Layer, registers: Registers) -> None:
        """Of a layer of bfloat16."""
        weight = read_constant(layer.weight, weights_of(ctx))
        if weight is None:
            raise PassFailed(
                f"the weight of {layer_of(layer)} must be a constant, "
                f"got {layer.weight}"
            )
        if isinstance(layer, sq.ConvOp):
            blocks = cost_pairs.candidates(registers)
            keep_columns(layer, count_pair_columns(weight, blocks))
        if self._wants_tiles(ctx, layer):
            self._keep_groups(layer, as_pairs(weight, len(weight)))

    def _wants_tiles(self, ctx: Context, layer: Layer) -> bool:
        """Whether the target has tiles, or a tuning log has the layer run on them."""
        if self.pair_tiles if sq.has_bf16(layer.input) else self.tiles:
            return True
        tuned = tuned_of(ctx)
        entry = tuned.get(layer_key(layer, weights_of(ctx))) if tuned else None
        return entry is not None and entry.family == "tiles"

    def _keep_groups(self, layer: Layer, lanes: npt.NDArray[np.int32]) -> None:
        """Say what tiles would multiply, of a weight in lanes."""
        keep_groups(layer, count_groups(lanes, tile_candidates(len(lanes))))

    def _measured(
        self, ctx: Context, layers: Sequence[Layer]
    ) -> dict[Operation, Entry]:
        """Entries of the tuning log for layers; those that `force` forbids are not."""
        found: dict[Operation, Entry] = {}
        tuned = tuned_of(ctx)
        for layer in layers if tuned else ():
            entry = tuned.get(layer_key(layer, weights_of(ctx)))
            if entry is None or layer.kernel is not None:
                continue
            reason = why_not(layer, entry.family, entry.settings, self.lanes)
            if reason is not None:
                raise InvalidInput(f"{entry.where}: {layer_of(layer)}: {reason}")
            if entry.family in self._allowed(layer):
                found[layer] = entry
        return found

    def _recurrent(
        self,
        ctx: Context,
        layer: nn.RecurrentOp,
        registers: Registers,
        counts: dict[str, int],
    ) -> None:
        """Of a recurrent layer the encoding of its weight says the family."""
        if not isinstance(layer.weight.owner, sq.WeightOp):
            return
        prediction = predict_recurrent(layer, registers)
        families = self._left(tuple(prediction))
        family = min(families, key=lambda name: with_margin(name, prediction[name]))
        if len(prediction) > 1:
            explain(layer, family, prediction)
        if family == "dense":
            decode_weight(layer, weights_of(ctx))
            counts["decoded"] += 1
        else:
            counts["recurrent_columns"] += 1

    def _choose(
        self,
        module: ModuleOp,
        layers: Sequence[Layer],
        measured: Mapping[Operation, Entry],
        registers: Registers,
    ) -> Mapping[Operation, str]:
        """The family of each layer; without a choice there is nothing to predict."""
        allowed: dict[Operation, Sequence[str]] = {
            layer: [measured[layer].family]
            if layer in measured
            else self._allowed(layer)
            for layer in layers
        }
        if all(len(families) == 1 for families in allowed.values()):
            return {layer: families[0] for layer, families in allowed.items()}
        choices = choose(module, registers, self.l1_bytes, lambda op: allowed[op])
        return choices.families

    def _allowed(self, layer: Layer) -> Sequence[str]:
        """The families that can run a layer, among those that `force` leaves."""
        if layer.kernel is not None:
            return (layer.kernel.family.data,)
        return self._left(families_of(layer))

    def _left(self, families: Sequence[str]) -> Sequence[str]:
        """Those that `force` leaves."""
        is_free = self.force is None or "tiles" in families
        if is_free or len(families) == 1 or "dense" not in families:
            return families
        sparse = [family for family in families if family != "dense"]
        return sparse if self.force == "sparse" else ["dense"]

    def _explain(
        self, layer: Layer, family: str, registers: Registers, entry: Entry | None
    ) -> None:
        """Say what was measured, or predicted for the layer by itself."""
        if isinstance(layer, sq.LinearOp):
            prediction = predict_linear(layer, registers)
        else:
            prediction = predict_conv(layer, registers, self.l1_bytes)
        if len(prediction) == 1:
            return
        if entry is not None:
            note = f"measured, the fastest of {entry.count}"
        elif self.force is None and not is_least(family, prediction):
            note = "the least with the conversions of its neighbours"
        else:
            note = ""
        explain(layer, family, prediction, note)


def explain(
    layer: Weighted, family: str, prediction: Prediction, note: str = ""
) -> None:
    """Say on a layer what was predicted for it by itself, and what else mattered."""
    usual, other = "dense", "sparse"
    if "tiles" in prediction:
        (usual, *_), other = [name for name in prediction if name != "tiles"], "tiles"
    least = min(n for name, n in prediction.items() if name != usual)
    ratio = prediction[usual] / max(least, 1.0)
    verdict = "runs dense" if family == "dense" else f"{family} kernel"
    reasons = [f"{verdict}: predicted {usual} / {other} = {ratio:.2f}", note]
    layer.attributes["sq.why"] = StringAttr("; ".join(filter(None, reasons)))
