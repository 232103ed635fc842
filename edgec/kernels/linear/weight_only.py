"""Linear layers with quantized weights and float32 inputs, for few rows.

    total = sum(g) scale[n, g] * sum(k in group g) x[r, k] * f32(w[n, k])
    y[r, n] = steps(total + bias[n])

Weights are read as codes, a half to a sixteenth of the bytes, and become float32 in
registers; inputs and results stay float32. A scale belongs to an output, or to a group
of neighbouring inputs of an output; it is multiplied once per sum, not per weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xdsl.dialects import func
from xdsl.ir import SSAValue

from edgec.dialects.lane import QUAD, buffer_type
from edgec.dialects.sq import Step
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import zero_all_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.linear.code_build import CodeBuild
from edgec.kernels.linear.code_loop import CodeLoop, Places, most_sums
from edgec.kernels.linear.codes import (
    CODE_BITS,
    INDEX_BYTES,
    Bytes,
    Codes,
    CodeShape,
    bits_of,
    code_shape,
    pack_codes,
)
from edgec.kernels.linear.dense import LinearEnds
from edgec.kernels.linear.product import column_masks
from edgec.kernels.softmax import require_unphased

Floats = npt.NDArray[np.float32]

BLOCKS = (16, 8, 4)
"""Outputs of a block that keep the same inputs, where zeros are left out."""
WORTH = 0.8
"""Share of the dense bytes below which zeros are left out: a place of an input is
looked up."""


@dataclass(frozen=True)
class CodeLinear:
    """`y[..., n] = steps(sum(k) x[..., k] w[n, k] scale[n, group of k] + bias[n])`.

    Raises `InvalidInput` for a layout with phases.
    """

    input: Layout
    output: Layout
    codes: CodeShape
    groups: int
    """Scales of an output; with several, no zeros are left out."""
    has_bias: bool
    steps: tuple[Step, ...] = ()
    extras: tuple[Layout, ...] = ()

    def __post_init__(self) -> None:
        require_unphased("linear", self.input, self.output, *self.extras)
        whole = self.groups * self.codes.per_step
        if self.groups > 1 and (self.codes.is_sparse or self.codes.inputs % whole):
            raise InvalidInput(
                f"groups must be dense and whole steps of {self.codes.per_step} inputs,"
                f" got {self.groups} groups of {self.codes.inputs} inputs"
            )

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, the codes, scale, bias if any, extras, y."""
        padded = self.codes.blocks * self.codes.block
        buffers = {"x": buffer_type(self.input.elements), **self.codes.buffers()}
        buffers["scale"] = buffer_type(padded * self.groups)
        if self.has_bias:
            buffers["bias"] = buffer_type(self.codes.outputs)
        for number, extra in enumerate(self.extras):
            buffers[f"extra{number}"] = buffer_type(extra.elements)
        buffers["y"] = buffer_type(self.output.elements)
        b = KernelBuilder(name, buffers, lanes=min(lanes, self.codes.block))
        _Build(b, self).build()
        zero_all_gaps(b, "y", self.output)
        return b.finish()


def dense_block(lanes: int, rows: int, outputs: int) -> int:
    """Outputs of a dense block: enough sums to hide latency, but for all rows."""
    vectors = max(1, min(4, most_sums(lanes) // rows))
    return lanes * min(vectors, -(-outputs // lanes))


def code_bits(weight: Bytes, group: int | None) -> int:
    """The fewest bits, of codes whose steps do not cross groups.

    Raises `InvalidInput` for groups that no step fits.
    """
    least = bits_of(weight)
    for bits in CODE_BITS[CODE_BITS.index(least) :]:
        if group is None or group % (QUAD * 8 // bits) == 0:
            return bits
    raise InvalidInput(f"groups must be a multiple of {QUAD} inputs, got {group}")


Arrange = Callable[[Bytes, int], Bytes]
"""The rows of a weight in the order of blocks of a size."""


def weight_shape(
    weight: Bytes,
    dense: int,
    group: int | None = None,
    arrange: Arrange = lambda weight, _: weight,
) -> CodeShape:
    """The smaller one of the weight in blocks of `dense` outputs, and its nonzeros."""
    bits, block = code_bits(weight, group), None
    if group is None:
        padded = len(arrange(weight[:, :1], dense))
        size = -(-padded // dense) * dense * weight.shape[1]
        block = _sparse_block(weight, bits, size, arrange)
    return code_shape(
        arrange(weight, block or dense),
        block or dense,
        is_quads=False,
        sparse=block is not None,
        bits=bits,
    )


def pack_weight(
    weight: Bytes,
    dense: int,
    group: int | None = None,
    arrange: Arrange = lambda weight, _: weight,
) -> Codes:
    """The weight in the form that `weight_shape` says."""
    shape = weight_shape(weight, dense, group, arrange)
    return pack_codes(
        arrange(weight, shape.block),
        shape.block,
        is_quads=False,
        sparse=shape.is_sparse,
        bits=shape.bits,
    )


def _sparse_block(weight: Bytes, bits: int, size: int, arrange: Arrange) -> int | None:
    """The block with the fewest bytes of nonzeros; None if `size` dense are better."""
    found: dict[int, float] = {}
    for block in BLOCKS:
        rows = arrange(weight, block)
        missing = -len(rows) % block
        rows = np.pad(rows, ((0, missing), (0, 0))) if missing else rows
        kept = np.bitwise_or.reduce(rows.reshape(-1, block, rows.shape[1]), axis=1)
        found[block] = np.count_nonzero(kept) * (block * bits / 8 + INDEX_BYTES)
    best = min(BLOCKS, key=lambda block: found[block])
    return best if found[best] < WORTH * size * bits / 8 else None


def pack_scales(scale: Floats, block: int) -> Floats:
    """`[outputs]` or `[outputs, groups]` to `[blocks][groups][block]`, flat."""
    outputs = len(scale)
    blocks = -(-outputs // block)
    wide = np.zeros((blocks * block, scale.size // outputs), np.float32)
    wide[:outputs] = scale.reshape(outputs, -1)
    return wide.reshape(blocks, block, -1).swapaxes(1, 2).reshape(-1)


class _Build(CodeBuild):
    """State while one kernel is built."""

    def __init__(self, b: KernelBuilder, spec: CodeLinear) -> None:
        self.spec = spec
        ends = LinearEnds(b, spec.input, spec.output, spec.steps, spec.extras)
        most = most_sums(b.lanes)
        # Sums of a group stand next to those of the groups before it.
        most = most if spec.groups == 1 else most // 2
        loop = CodeLoop(b, "x", spec.codes, most_sums=most)
        super().__init__(b, spec.codes, ends, loop, most)

    def totals(self, block: SSAValue, places: Places) -> Sequence[SSAValue]:
        """Times the scales of each output, or of each group."""
        if self.spec.groups == 1:
            return self._scaled(self.loop.block(block, places), block)
        return self._groups(block, places)

    def _groups(self, block: SSAValue, places: Places) -> list[SSAValue]:
        """The sum of all groups, each with its scales."""
        b, spec, vectors = self.b, self.spec, self.loop.vectors
        steps = spec.codes.inputs // spec.codes.per_step // spec.groups

        def group(number: SSAValue, *totals: SSAValue) -> list[SSAValue]:
            own = b.plus(b.times(block, spec.groups), number)
            begin = b.times(number, steps)
            end = b.plus(begin, steps)
            sums = self.loop.sums(b.times(own, steps), begin, end, places)
            scales = self._scales(own)
            return [
                b.dot(total, value, scales[place % vectors])
                for place, (total, value) in enumerate(zip(totals, sums, strict=True))
            ]

        zeros = [b.constant(0.0)] * (len(places) * vectors)
        return list(b.loop(0, spec.groups, group, carried=zeros))

    def _scales(self, own: Index) -> list[SSAValue]:
        """The scales of a block in a group."""
        b, at = self.b, self.b.times(own, self.spec.codes.block)
        return [
            b.load("scale", at, offset=v * b.lanes) for v in range(self.loop.vectors)
        ]

    def _scaled(self, sums: Sequence[SSAValue], block: Index) -> list[SSAValue]:
        """Sums times the scales of their outputs."""
        scales = self._scales(block)
        return [
            self.b.binary("mul", value, scales[place % self.loop.vectors])
            for place, value in enumerate(sums)
        ]

    def store(
        self,
        first: Index,
        row: Index,
        rows: int,
        totals: Sequence[SSAValue],
        count: int,
    ) -> None:
        """The first `count` outputs of a block."""
        b, vectors = self.b, self.loop.vectors
        targets, sides = self.ends.y.several(b, row, rows), self.ends.sides(row, rows)
        for v, mask in enumerate(column_masks(b, count, vectors)):
            bias = None
            if self.spec.has_bias:
                bias = b.load("bias", first, offset=v * b.lanes, mask=mask)
            for r, (base, offset) in enumerate(targets):
                value = totals[r * vectors + v]
                if bias is not None:
                    value = b.binary("add", value, bias)
                places = [side[r] for side in sides]
                value = self.ends.finish(value, places, first, v, mask)
                at = b.plus(base, first)
                b.store(value, "y", at, offset=offset + v * b.lanes, mask=mask)
