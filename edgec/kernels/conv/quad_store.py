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
from edgec.kernels.conv.positions import Extra, Planes, PositionStore
from edgec.kernels.layout import Layout
from edgec.kernels.requantize import Requantize


class SumStore(PositionStore):
    """Turns sums to numbers, and stores these."""

    def __init__(
        self,
        builder: KernelBuilder,
        result: Layout,
        steps: Sequence[Step],
        extras: Sequence[Extra],
    ) -> None:
        super().__init__(builder, result, steps, extras)
        self._bytes: dict[tuple[int, int, int], Sequence[SSAValue]] = {}

    def real(
        self, values: Sequence[SSAValue], first: Index, vectors: int
    ) -> list[SSAValue]:
        """What sums of filters from `first` on stand for."""
        b = self.b
        found: list[SSAValue] = []
        for f in range(len(values) // vectors):
            scale, shift = (
                b.splat(b.load(name, first, lanes=1, offset=f))
                for name in ("scale", "shift")
            )
            for v in range(vectors):
                number = b.cast(values[f * vectors + v], vector(b.lanes))
                found.append(b.dot(shift, number, scale))
        return found

    def store(
        self,
        image: Index,
        planes: Planes,
        at: Index,
        values: Sequence[SSAValue],
        vectors: int,
        tail: int,
    ) -> None:
        """As `PositionStore`, from sums."""
        ((first, _),) = planes.runs
        self._bytes.clear()
        numbers = self.real(values, first, vectors)
        super().store(image, planes, at, numbers, vectors, tail)

    def side(self, extra: Extra, image: Index, first: Index, at: Index) -> Index:
        """As `PositionStore`; the planes of a quantized extra hold four filters."""
        if extra.quantized is not None:
            first = self.b.quotient(first, QUAD)
        return super().side(extra, image, first, at)

    def other(
        self,
        number: int,
        sides: Sequence[Index],
        f: int,
        v: int,
        exists: SSAValue | None,
        bands: Bands,
    ) -> SSAValue:
        """As `PositionStore`; four filters share what is read of a quantized extra."""
        extra = self.extras[number]
        if extra.quantized is None:
            return super().other(number, sides, f, v, exists, bands)
        byte = self.byte(number, sides, f, v, exists, bands)
        return extra.quantized.apply(self.b, byte)

    def byte(
        self,
        number: int,
        sides: Sequence[Index],
        f: int,
        v: int,
        exists: SSAValue | None,
        bands: Bands,
    ) -> SSAValue:
        """A byte of a quantized extra, in lanes of i32."""
        group, byte = divmod(f, QUAD)
        key = (number, group, v)
        if key not in self._bytes:
            quads = super().other(number, sides, group, v, exists, bands)
            self._bytes[key] = self.b.unpack_quads(quads)
        return self._bytes[key][byte]


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

    def store(
        self,
        image: Index,
        planes: Planes,
        at: Index,
        values: Sequence[SSAValue],
        vectors: int,
        tail: int,
    ) -> None:
        """As `PositionStore`; planes of the result hold four filters."""
        b = self.b
        ((first, count),) = planes.runs
        put = self.target(image, b.quotient(first, QUAD), 0, at)
        shared = [self.side(extra, image, first, at) for extra in self.extras]
        sides = [self.sides_of(shared, image, first, f, at) for f in range(count)]
        self._bytes.clear()
        numbers = self.real(values, first, vectors)
        for v in range(vectors):
            mask = self.rows(at, v)
            exists = b.tail_mask(tail) if tail and v == vectors - 1 else None
            for group in range(count // QUAD):
                parts = [
                    self.finish(numbers[f * vectors + v], sides[f], f, v, exists)
                    for f in range(group * QUAD, (group + 1) * QUAD)
                ]
                quad = self.requantize.pack(b, parts)
                if mask is not None:
                    quad = b.select(mask, quad, self.gap())
                put(quad, group, v * b.lanes, exists)

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
            byte = self.byte(addend.operand, sides, f, v, exists, around)
            number = b.cast(byte, vector(b.lanes))
            value = b.dot(value, number, b.constant(addend.factor))
        return super().finish(value, sides, f, v, exists, bands)

    def sides_of(
        self, sides: Sequence[Index], image: Index, first: Index, f: int, at: Index
    ) -> list[Index]:
        """`sides` for filter `first + f`, which may be there to fill the last quad.

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
