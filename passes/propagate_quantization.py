"""Let ops that only move or choose values work on quantized tensors.

What: `sq.dequantize` moves down through concatenations, slices, pads, reshapes and
largest values of windows, `sq.quantize` up through pads, reshapes and concatenations;
the two vanish where they meet with the same scale and zero point, and become
`sq.requantize` where these differ.

Why: such ops give the same bytes that they would give as numbers, and bytes are a
quarter of the memory. Layers between which nothing but bytes is left can run in
integers (`integer-layers`).

How: one walk forward. An op all of whose inputs are dequantized from one type reads
the quantized tensors instead, and its result is dequantized. That is done to ops that
kernels on *quads* can do, where four channels share a lane: a reshape keeps the first
two dimensions, and a slice takes all channels, or neighbours and nothing else. A pad
has to add a number that a byte stands for, as 0 is, and whole quads of channels. A
reshape, a transpose and a reshape that shuffle channels are one op on bytes. Numbers
that other ops move between two equal pairs go through the first one only, or, on their
way to a layer that may multiply integers, through the last one only.

Invariants: needs `nn` and `sq`. Bit by bit the same, as dequantizing is monotonic and
done element by element. Scales computed at run time and scales per channel are left
alone.

Source: the placement rules of integer inference in Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (CVPR
2018), appendix A.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.ir import Operation, SSAValue, Use

from edgec.context import WeightStore, weights_of
from edgec.dialects import nn, sq
from edgec.passes.analysis.linear_inputs import quantized_rows
from edgec.passes.analysis.quantized import (
    STEP_RANKS,
    has_same_channels,
    keeps_quads,
    pads_quads,
)
from edgec.passes.base import ReportingPass
from edgec.passes.constants import constant_name, make_constant, read_constant
from edgec.passes.patterns.rewriting import copy_labels, erase_dead

STATISTICS = ("moved", "hoisted", "cancelled", "requantized")


def shared_type(op: Operation) -> sq.QuantType | None:
    """The type that all operands of an op are dequantized from, if it is one."""
    found: set[sq.QuantType | None] = set()
    for value in op.operands:
        maker = value.owner
        is_made = isinstance(maker, sq.DequantizeOp)
        found.add(sq.quant_type(maker.input) if is_made else None)
    type_ = found.pop() if len(found) == 1 else None
    return type_ if type_ is not None and type_.numbers is not None else None


def move_down(op: Operation, element: sq.QuantType) -> None:
    """Replace `op` by one on quantized tensors, and dequantize its result."""
    sources: list[SSAValue] = []
    for value in op.operands:
        assert isinstance(value.owner, sq.DequantizeOp)
        sources.append(value.owner.input)
    new = type(op).create(
        operands=sources,
        result_types=[TensorType(element, nn.shape_of(op.results[0]))],
        properties=dict(op.properties),
        attributes=dict(op.attributes),
    )
    after = sq.DequantizeOp(new.results[0])
    copy_labels(op, after)
    _replace(op, new, after)


def reshaped_weight(
    op: nn.ReshapeOp, weights: WeightStore
) -> tuple[nn.ConstantOp, sq.DequantizeOp] | None:
    """A dequantized constant that is reshaped, as one of the other shape."""
    maker = op.input.owner
    if not isinstance(maker, sq.DequantizeOp):
        return None
    type_, array = sq.quant_type(maker.input), read_constant(maker.input, weights)
    assert type_ is not None
    if array is None or type_.group_size is not None:
        return None
    axis, shape = type_.axis_number, nn.shape_of(op.result)
    if axis is not None and shape[: axis + 1] != array.shape[: axis + 1]:
        return None
    name = constant_name(maker.input)
    constant = make_constant(array.reshape(shape), name, maker.input, weights)
    return constant, sq.DequantizeOp(constant.result)


class Shuffle(NamedTuple):
    """What three ops do that take channels of some groups in turn."""

    source: SSAValue
    groups: int
    ops: tuple[Operation, ...]
    """The last one first."""

    @staticmethod
    def of(op: Operation) -> Shuffle | None:
        """A reshape that apart from a transpose undoes one before it, or None."""
        turned = op.operands[0].owner if isinstance(op, nn.ReshapeOp) else None
        if not isinstance(turned, nn.TransposeOp):
            return None
        split = turned.input.owner
        if not isinstance(split, nn.ReshapeOp):
            return None
        shape, parts = nn.shape_of(split.input), nn.shape_of(split.result)
        order = (0, 2, 1, *range(3, len(parts)))
        if len(parts) < 3 or tuple(turned.permutation.get_values()) != order:
            return None
        whole = (parts[0], parts[1] * parts[2], *parts[3:])
        if not shape == whole == nn.shape_of(op.results[0]):
            return None
        return Shuffle(split.input, parts[1], (op, turned, split))


def move_shuffle(op: nn.ReshapeOp) -> bool:
    """Shuffle the bytes of what is dequantized before it; `op` is the last of three."""
    found = Shuffle.of(op)
    maker = None if found is None else found.source.owner
    if found is None or not isinstance(maker, sq.DequantizeOp):
        return False
    type_ = sq.quant_type(maker.input)
    if type_ is None or type_.numbers is None:
        return False
    new = sq.ShuffleChannelsOp(maker.input, found.groups)
    after = sq.DequantizeOp(new.result)
    copy_labels(op, new, after)
    _replace(op, new, after)
    return True


def hoist_shuffle(op: sq.QuantizeOp) -> sq.QuantizeOp | None:
    """Quantize what is shuffled instead of the result; the new op."""
    before, type_ = op.input.owner, sq.quant_type(op.result)
    found = Shuffle.of(before) if isinstance(before, nn.ReshapeOp) else None
    assert type_ is not None
    if found is None or type_.numbers is None or not op.input.has_one_use():
        return None
    quantized = sq.QuantizeOp(found.source, type_)
    after = sq.ShuffleChannelsOp(quantized.result, found.groups)
    copy_labels(op, quantized, after)
    _replace(op, quantized, after)
    # Nobody else reads the source now: it may be moved further.
    for gone in found.ops:
        if not gone.results[0].first_use:
            gone.detach()
            gone.erase()
    return quantized


def hoist(op: sq.QuantizeOp) -> sq.QuantizeOp | None:
    """Quantize what is reshaped or padded instead of the result; the new op."""
    before, type_ = op.input.owner, sq.quant_type(op.result)
    assert type_ is not None
    if not isinstance(before, nn.ReshapeOp | nn.PadOp) or not op.input.has_one_use():
        return None
    if isinstance(before, nn.PadOp):
        keeps = pads_quads(before, type_)
    else:
        keeps = has_same_channels(before.input, before.result)
    if not keeps or type_.numbers is None:
        return None
    quantized = sq.QuantizeOp(before.input, type_)
    copy_labels(op, quantized)
    after = type(before).create(
        operands=[quantized.result],
        result_types=[op.result.type],
        properties=dict(before.properties),
    )
    copy_labels(before, after)
    _replace(op, quantized, after)
    return quantized


def hoist_parts(op: sq.QuantizeOp) -> list[sq.QuantizeOp]:
    """Quantize the parts of a concatenation instead of the whole; the new ops.

    Layers that make parts write bytes then, and other bytes get the same scale.
    """
    before, type_ = op.input.owner, sq.quant_type(op.result)
    assert type_ is not None
    if not isinstance(before, nn.ConcatOp) or not op.input.has_one_use():
        return []
    if type_.numbers is None or not keeps_quads(before):
        return []
    parts = {
        value: sq.QuantizeOp(value, type_) for value in dict.fromkeys(before.operands)
    }
    values = [parts[value].result for value in before.operands]
    after = nn.ConcatOp(values, before.axis.value.data)
    copy_labels(op, *parts.values())
    copy_labels(before, after)
    _replace(op, *parts.values(), after)
    return list(parts.values())


def _replace(op: Operation, *new: Operation) -> None:
    """Put ops in the place of one, the last for its result."""
    block = op.parent
    assert block is not None
    block.insert_ops_before(list(new), op)
    new[-1].results[0].name_hint = op.results[0].name_hint
    op.results[0].replace_all_uses_with(new[-1].results[0])
    op.detach()
    op.erase()


def cancel(op: sq.QuantizeOp) -> bool:
    """Quantizing again what was dequantized gives the same bytes."""
    maker = op.input.owner
    if not isinstance(maker, sq.DequantizeOp):
        return False
    if sq.quant_type(maker.input) != sq.quant_type(op.result):
        return False
    op.result.replace_all_uses_with(maker.input)
    op.detach()
    op.erase()
    return True


def skip_pair(op: sq.QuantizeOp) -> bool:
    """Let readers of the numbers skip a pair, if these have gone through it before.

    Between both, ops only moved them. Layers that may multiply integers do not skip it,
    unless they flatten the bytes themselves: then the pair before is skipped.
    """
    value, type_ = op.input, sq.quant_type(op.result)
    moves: list[SSAValue] = []
    while isinstance(value.owner, nn.ReshapeOp | nn.TransposeOp | nn.SliceOp):
        moves.append(value)
        value = value.owner.input
    maker = value.owner
    if not isinstance(maker, sq.DequantizeOp) or sq.quant_type(maker.input) != type_:
        return False
    assert type_ is not None
    readers = [use.operation for use in op.result.uses]
    pairs = [reader for reader in readers if isinstance(reader, sq.DequantizeOp)]
    if type_.numbers is None or not pairs:
        return False
    is_flat = quantized_rows(op.input) is not None
    for pair in pairs:
        pair.result.replace_uses_with_if(
            op.input, lambda use: is_flat or not wants_bytes(use)
        )
    if any(pair.result.first_use for pair in pairs):
        return skip_first(maker, moves)
    # What is not read any more counts as a reader no longer, for the next pair.
    for gone in (*pairs, op):
        if not gone.results[0].first_use:
            gone.detach()
            gone.erase()
    return True


def wants_bytes(use: Use) -> bool:
    """Whether what reads numbers here is a layer with a weight in integers."""
    op = use.operation
    is_layer = isinstance(op, nn.LinearOp | nn.ConvOp) and use.index == 0
    return is_layer and isinstance(op.operands[1].owner, sq.DequantizeOp)


def skip_first(op: sq.DequantizeOp, moves: Sequence[SSAValue]) -> bool:
    """Move the numbers that were quantized, if nobody else reads what they became."""
    first = op.input.owner
    if not isinstance(first, sq.QuantizeOp):
        return False
    if not all(value.has_one_use() for value in (op.input, op.result, *moves)):
        return False
    op.result.replace_all_uses_with(first.input)
    return True


def requantize(op: sq.QuantizeOp) -> bool:
    """Quantizing with other numbers what was dequantized, as one op."""
    maker, type_ = op.input.owner, sq.quant_type(op.result)
    if not isinstance(maker, sq.DequantizeOp):
        return False
    source = sq.quant_type(maker.input)
    assert type_ is not None
    assert source is not None
    is_one = source.numbers is not None and type_.numbers is not None
    if not is_one or len(nn.shape_of(op.result)) not in STEP_RANKS:
        return False
    new = sq.RequantizeOp(maker.input, type_)
    copy_labels(op, new)
    _replace(op, new)
    return True


@dataclass(frozen=True)
class PropagateQuantization(ReportingPass):
    """Let ops that only move or choose values work on quantized tensors.

    **Before**

    ```mlir
    func.func @main(%x
        : tensor<1x4x2x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>)
        -> tensor<1x4x4x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>> {
      %a = sq.dequantize %x
        : (tensor<1x4x2x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>)
        -> tensor<1x4x2x6xf32>
      %r = nn.reshape %a : (tensor<1x4x2x6xf32>) -> tensor<1x4x4x3xf32>
      %b = sq.quantize %r : (tensor<1x4x4x3xf32>)
        -> tensor<1x4x4x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
      func.return %b
        : tensor<1x4x4x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x
        : tensor<1x4x2x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>)
        -> tensor<1x4x4x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>> {
      %r = nn.reshape %x
        : (tensor<1x4x2x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>)
        -> tensor<1x4x4x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
      func.return %r
        : tensor<1x4x4x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
    }
    ```
    """

    name = "propagate-quantization"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count ops `moved` to bytes, and what became of quantize ops.

        They are `hoisted`, `cancelled`, or `requantized`.
        """
        weights = weights_of(ctx)
        counts: dict[str, int] = dict.fromkeys(STATISTICS, 0)
        for old in list(op.walk()):
            if old.parent is None:
                continue  # the module, or an op that was erased on the way
            if isinstance(old, sq.QuantizeOp):
                for what in self._quantize(old):
                    counts[what] += 1
                continue
            if isinstance(old, nn.ReshapeOp):
                if move_shuffle(old):
                    counts["moved"] += 1
                    continue
                constants = reshaped_weight(old, weights)
                if constants is not None:
                    _replace(old, *constants)
                    counts["moved"] += 1
                    continue
            type_ = shared_type(old) if keeps_quads(old) else None
            if type_ is not None:
                move_down(old, type_)
                counts["moved"] += 1
        erase_dead(op)
        return counts

    def _quantize(self, op: sq.QuantizeOp) -> list[str]:
        """Let one quantize op vanish, if it can; as what to count that."""
        parts = hoist_parts(op)
        if parts:
            return [
                "hoisted",
                *(what for part in parts for what in self._quantize(part)),
            ]
        if cancel(op) or skip_pair(op):
            return ["cancelled"]
        if requantize(op):
            return ["requantized"]
        hoisted = hoist_shuffle(op) or hoist(op)
        return [] if hoisted is None else ["hoisted", *self._quantize(hoisted)]
