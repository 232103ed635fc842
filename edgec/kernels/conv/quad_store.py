"""The end of an integer convolution: from sums to numbers, and to bytes again.

    v = fma(f32(sum), scale[f], shift[f])          what the sum stands for
    v = steps(v)                                   as after any convolution; an extra
                                                   in bytes counts as what it stands for
    q = clamp(round(v * inverse) + zero point)     four filters in each lane

`round` is half to even. `edgec.dialects.quad_ending` says where the numbers come from,
and that with steps that only clamp, nothing is left of the second line nor of
`inverse`; bytes that are added before take another multiply-add.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import QUAD, vector
from edgec.dialects.quad_ending import Addend
from edgec.dialects.sq import Step
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.conv.bands import Bands
from edgec.kernels.conv.held_store import HeldStore
from edgec.kernels.conv.positions import Extra
from edgec.kernels.layout import Layout
from edgec.kernels.requantize import Requantize


class SumStore(HeldStore):
    """Turns sums to numbers, and stores these."""

    def numbers(
        self, sums: Sequence[SSAValue], first: Index, vectors: int
    ) -> list[SSAValue]:
        """What sums of filters from `first` on stand for."""
        b = self.b
        found: list[SSAValue] = []
        for f in range(len(sums) // vectors):
            scale, shift = (
                b.splat(b.load(name, first, lanes=1, offset=f))
                for name in ("scale", "shift")
            )
            for v in range(vectors):
                number = b.cast(sums[f * vectors + v], vector(b.lanes))
                found.append(b.dot(shift, number, scale))
        return found

    def unpack(self, lanes: SSAValue) -> Sequence[SSAValue]:
        """Four bytes."""
        return self.b.unpack_quads(lanes)

    def other(
        self,
        number: int,
        sides: Sequence[Index],
        f: int,
        v: int,
        exists: SSAValue | None,
        bands: Bands,
    ) -> SSAValue:
        """As `PositionStore`; of a quantized extra, what its bytes stand for."""
        value = super().other(number, sides, f, v, exists, bands)
        quantized = self.extras[number].quantized
        return value if quantized is None else quantized.apply(self.b, value)


class QuadStore(SumStore):
    """Stores bytes of four filters in each lane."""

    element = i32
    held = QUAD

    def __init__(
        self,
        builder: KernelBuilder,
        result: Layout,
        steps: Sequence[Step],
        extras: Sequence[Extra],
        requantize: Requantize,
        addend: Addend | None,
    ) -> None:
        super().__init__(builder, result, steps, extras)
        self.requantize = requantize
        self.addend = addend

    def pack(self, filters: Sequence[SSAValue]) -> SSAValue:
        """Four bytes."""
        return self.requantize.pack(self.b, filters)

    def finish(
        self,
        value: SSAValue,
        sides: Sequence[Index],
        f: int,
        v: int,
        exists: SSAValue | None,
        bands: Bands | None = None,
    ) -> SSAValue:
        """As `PositionStore`, after what is added to the sum."""
        b, addend = self.b, self.addend
        if addend is not None:
            around = bands or self.neighbours
            # The byte itself, not what it stands for.
            byte = HeldStore.other(self, addend.operand, sides, f, v, exists, around)
            number = b.cast(byte, vector(b.lanes))
            value = b.dot(value, number, b.constant(addend.factor))
        return super().finish(value, sides, f, v, exists, bands)

    def sides_of(
        self, sides: Sequence[Index], image: Index, first: Index, f: int, at: Index
    ) -> list[Index]:
        """As `HeldStore`, of filters that may be there to fill the last quad only.

        Such a filter reads what the last one reads.
        """
        b, found = self.b, list(sides)
        for number, extra in enumerate(self.extras):
            channels, step = extra.layout.shape[1], extra.layout.strides[1]
            if extra.quantized is None and step and channels % QUAD and f % QUAD:
                real = b.smaller(b.plus(first, f), channels - 1)
                # `finish` adds f channels.
                found[number] = b.minus(self.side(extra, image, real, at), f * step)
        return found

    def gap(self) -> SSAValue:
        """Zeros of the result."""
        return self.b.splat(self.b.integer(self.requantize.gap))
