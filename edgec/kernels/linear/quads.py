"""Integer linear layers: quads of bytes in, float32 or quads out.

    sums = sum(k) x[r][k] w[k]         (edgec.kernels.linear.code_loop), exact
    v = fma(f32(sums - zero point * sum(w)), scale[n], shift[n])
    v = steps(v);  store it, or q = clamp(round(v / output scale)) + zero point

Where scale and shift come from says `edgec.dialects.quad_ending`. Each weight is read
once for a few rows, in order, so that with one row the kernel runs at the speed of
memory. A result of quads has four neighbouring outputs in a lane: the block then is
four registers, of which number `b` holds the outputs that become byte `b`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from xdsl.dialects import func
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import QUAD, buffer_type
from edgec.dialects.sq import Step
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.epilogue import apply_steps
from edgec.kernels.gaps import zero_all_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.linear.code_build import CodeBuild
from edgec.kernels.linear.code_loop import CodeLoop, Places, most_sums
from edgec.kernels.linear.codes import (
    Bytes,
    Codes,
    CodeShape,
    are_pairs_bounded,
    pack_codes,
)
from edgec.kernels.linear.dense import LinearEnds
from edgec.kernels.linear.product import column_masks
from edgec.kernels.recurrent.gates import Arrays
from edgec.kernels.requantize import Dequantize, Requantize
from edgec.kernels.softmax import require_unphased


@dataclass(frozen=True)
class QuadLinear:
    """`y[r, n] = steps(f32(sum(k) (x[r, k] - z) w[n, k]) * scale[n] + shift[n])`.

    `input` is a layout of quads of the last dimension, `output` one of float32, or with
    `requantize` one of quads. Raises `InvalidInput` for a layout with phases.
    """

    input: Layout
    output: Layout
    codes: CodeShape
    bounded: bool
    """What `lane.dot_quads` is promised."""
    steps: tuple[Step, ...] = ()
    extras: tuple[Layout, ...] = ()
    """Extra operands of the steps; they broadcast to `[rows, outputs]`."""
    requantize: Requantize | None = None
    quantized: tuple[Dequantize | None, ...] = ()
    """What each extra operand stands for that is of quads, as the result then is; none
    are if this is empty."""

    def __post_init__(self) -> None:
        require_unphased("linear", self.input, self.output, *self.extras)
        if self.requantize is None and any(self.quantized):
            raise InvalidInput("extra operands of quads need a result of quads")
        if self.requantize and self.codes.block % QUAD:
            raise InvalidInput(
                f"a block must have a multiple of {QUAD} outputs for a result of quads,"
                f" got {self.codes.block}"
            )

    @property
    def real_output(self) -> Layout:
        """Where rows of the result begin, with its shape in float32."""
        if self.requantize is None:
            return self.output
        shape = (*self.output.shape[:-1], self.codes.outputs)
        return replace(self.output, shape=shape)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, the codes, sums, scale, shift, extras, y."""
        padded = self.codes.blocks * self.codes.block
        buffers = {"x": buffer_type(self.input.elements, i32), **self.codes.buffers()}
        buffers["sums"] = buffer_type(padded, i32)
        buffers |= {name: buffer_type(padded) for name in ("scale", "shift")}
        for number, extra in enumerate(self.extras):
            held = f32 if self.dequantize(number) is None else i32
            buffers[f"extra{number}"] = buffer_type(extra.elements, held)
        element = () if self.requantize is None else (i32,)
        buffers["y"] = buffer_type(self.output.elements, *element)
        b = KernelBuilder(name, buffers, lanes=self.lanes(lanes))
        _Build(b, self).build()
        if self.requantize is None:
            zero_all_gaps(b, "y", self.output)
        return b.finish()

    def dequantize(self, number: int) -> Dequantize | None:
        """What an extra operand stands for; None if it is in float32."""
        return self.quantized[number] if self.quantized else None

    def lanes(self, lanes: int) -> int:
        """A vector holds at most a block, or a quarter of it for a result of quads."""
        parts = 1 if self.requantize is None else QUAD
        return min(lanes, self.codes.block // parts)


def pack_linear_quads(
    weight: Bytes,
    zero_point: int,
    scale: np.ndarray,
    shift: np.ndarray,
    block: int,
    *,
    interleaved: int = 0,
    sparse: bool | None = None,
    bits: int | None = None,
) -> tuple[Codes, bool, Arrays]:
    """The codes, whether they are bounded, and the numbers of each output.

    `interleaved`, if it is not 0, are the lanes of registers that hold every fourth
    output: those of a result of quads.
    """
    outputs = len(weight)
    padded = -(-outputs // block) * block
    order = np.arange(padded)
    if interleaved:
        order = order.reshape(-1, interleaved, QUAD).swapaxes(1, 2).reshape(-1)

    def arranged(array: np.ndarray) -> np.ndarray:
        wide = np.zeros((padded, *array.shape[1:]), array.dtype)
        wide[:outputs] = array
        return np.ascontiguousarray(wide[order])

    rows = arranged(weight)
    codes = pack_codes(rows, block, is_quads=True, sparse=sparse, bits=bits)
    codes = replace(codes, shape=replace(codes.shape, outputs=outputs))
    sums = -zero_point * weight.sum(1, dtype=np.int64)
    numbers = {
        "sums": arranged(sums.astype(np.int32)),
        "scale": arranged(np.broadcast_to(np.asarray(scale, "f4"), outputs)),
        "shift": arranged(np.asarray(shift, "f4")),
    }
    return codes, are_pairs_bounded(weight), cast(Arrays, numbers)


def in_order_of_quads(weight: Bytes, shape: Sequence[int]) -> Bytes:
    """A weight for inputs `[N, C, ...]`, its columns in the order of stored bytes.

    Four channels of a position stand together, then come the positions. Channels that
    do not exist have zeros.
    """
    channels = shape[1]
    missing = -channels % QUAD
    split = weight.reshape(len(weight), channels, -1)
    wide = np.pad(split, ((0, 0), (0, missing), (0, 0)))
    quads = wide.reshape(len(weight), -1, QUAD, split.shape[2]).swapaxes(2, 3)
    return np.ascontiguousarray(quads.reshape(len(weight), -1))


class _Build(CodeBuild):
    """State while one kernel is built."""

    def __init__(self, b: KernelBuilder, spec: QuadLinear) -> None:
        self.spec = spec
        ends = LinearEnds(b, spec.input, spec.real_output, spec.steps, spec.extras)
        most = most_sums(b.lanes)
        loop = CodeLoop(b, "x", spec.codes, bounded=spec.bounded, most_sums=most)
        super().__init__(b, spec.codes, ends, loop, most)

    def totals(self, block: SSAValue, places: Places) -> Sequence[SSAValue]:
        """Of all inputs."""
        return self.loop.block(block, places)

    def store(
        self,
        first: Index,
        row: Index,
        rows: int,
        totals: Sequence[SSAValue],
        count: int,
    ) -> None:
        """In float32, or four outputs in a lane."""
        is_quads = self.spec.requantize is not None
        store = self.store_quads if is_quads else self.store_numbers
        store(first, row, rows, totals, count)

    def real(self, total: SSAValue, first: Index, v: int) -> SSAValue:
        """What a register of sums stands for."""
        b, offset = self.b, v * self.b.lanes
        sums, scale, shift = (
            b.load(name, first, offset=offset) for name in ("sums", "scale", "shift")
        )
        number = b.cast(self.loop.add(total, sums), b.vector_type())
        return b.dot(shift, number, scale)

    def store_numbers(
        self,
        first: Index,
        row: Index,
        rows: int,
        totals: Sequence[SSAValue],
        count: int,
    ) -> None:
        """The first `count` outputs of a block, in float32."""
        b, vectors = self.b, self.loop.vectors
        targets, sides = self.ends.y.several(b, row, rows), self.ends.sides(row, rows)
        for v, mask in enumerate(column_masks(b, count, vectors)):
            for r, (base, offset) in enumerate(targets):
                value = self.real(totals[r * vectors + v], first, v)
                places = [side[r] for side in sides]
                value = self.ends.finish(value, places, first, v, mask)
                at = b.plus(base, first)
                b.store(value, "y", at, offset=offset + v * b.lanes, mask=mask)

    def store_quads(
        self,
        first: Index,
        row: Index,
        rows: int,
        totals: Sequence[SSAValue],
        count: int,
    ) -> None:
        """The first `count` outputs of a block, four in a lane."""
        b, to = self.b, self.spec.requantize
        assert to is not None
        targets, sides = self.ends.y.several(b, row, rows), self.ends.sides(row, rows)
        vectors = self.loop.vectors
        for group in range(vectors // QUAD):
            left = count - group * QUAD * b.lanes
            if left <= 0:
                break
            masks = [
                None if number >= b.lanes else b.tail_mask(number)
                for number in (-(-(left - byte) // QUAD) for byte in range(QUAD))
            ]
            for r, (base, offset) in enumerate(targets):
                values: list[SSAValue] = []
                for byte, mask in enumerate(masks):
                    v = group * QUAD + byte
                    value = self.real(totals[r * vectors + v], first, v)
                    places = [side[r] for side in sides]
                    extra = self._extra(places, first, group, byte, masks)
                    value = apply_steps(b, value, self.spec.steps, extra)
                    if mask is not None:
                        value = b.select(mask, value, b.constant(0.0))
                    values.append(value)
                quad = to.pack(b, values)
                at = b.plus(base, b.quotient(first, QUAD))
                where = offset + group * b.lanes
                b.store(quad, "y", at, offset=where, mask=masks[0])

    def _extra(
        self,
        places: Sequence[tuple[Index, int]],
        first: Index,
        group: int,
        byte: int,
        masks: Sequence[SSAValue | None],
    ) -> Callable[[int], SSAValue]:
        """The lanes of an extra operand that belong to every fourth output."""
        b, mask = self.b, masks[byte]

        def load(number: int) -> SSAValue:
            (base, offset), step = places[number], self.ends.extra_steps[number]
            name, stands_for = f"extra{number}", self.spec.dequantize(number)
            if stands_for is not None:
                at, own = (
                    b.plus(base, b.quotient(first, QUAD)),
                    offset + group * b.lanes,
                )
                quads = b.load(name, at, offset=own, mask=masks[0])
                return stands_for.apply(b, b.unpack_quads(quads)[byte])
            if step == 0:
                return b.splat(b.load(name, base, lanes=1, offset=offset))
            at, own = b.plus(base, first), offset + group * QUAD * b.lanes + byte
            return b.load(name, at, offset=own, stride=QUAD, mask=mask)

        return load
