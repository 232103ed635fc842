"""What stores share that hold several channels in a lane: pairs, or quads of bytes."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from edgec.dialects.sq import Step
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.conv.bands import Bands
from edgec.kernels.conv.positions import Extra, Planes, PositionStore
from edgec.kernels.layout import Layout


class HeldStore(PositionStore):
    """Stores `held` filters in each lane, and reads extras that hold several."""

    def __init__(
        self,
        builder: KernelBuilder,
        result: Layout,
        steps: Sequence[Step],
        extras: Sequence[Extra],
    ) -> None:
        super().__init__(builder, result, steps, extras)
        self._parts: dict[tuple[int, int, int], Sequence[SSAValue]] = {}
        """Of an extra, a plane of it, and a vector."""

    def numbers(
        self, sums: Sequence[SSAValue], first: Index, vectors: int
    ) -> Sequence[SSAValue]:
        """What sums of filters from `first` on stand for: themselves."""
        del first, vectors
        return sums

    def unpack(self, lanes: SSAValue) -> Sequence[SSAValue]:
        """The channels of lanes that hold several."""
        raise AssertionError(f"{type(self).__name__} must define unpack, of {lanes}")

    def pack(self, filters: Sequence[SSAValue]) -> SSAValue:
        """Lanes that hold these filters."""
        raise AssertionError(f"{type(self).__name__} must define pack, of {filters}")

    def store(
        self,
        image: Index,
        planes: Planes,
        at: Index,
        values: Sequence[SSAValue],
        vectors: int,
        tail: int,
    ) -> None:
        """As `PositionStore`, from sums; planes of the result hold `held` filters."""
        b = self.b
        self._parts.clear()
        first, count = planes.runs[0]
        if self.held == 1:
            numbers = self.numbers(values, first, vectors)
            super().store(image, planes, at, numbers, vectors, tail)
            return
        put = self.target(image, b.quotient(first, self.held), 0, at)
        shared = [self.side(extra, image, first, at) for extra in self.extras]
        sides = [self.sides_of(shared, image, first, f, at) for f in range(count)]
        numbers = self.numbers(values, first, vectors)
        for v in range(vectors):
            mask = self.rows(at, v)
            exists = b.tail_mask(tail) if tail and v == vectors - 1 else None
            for group in range(count // self.held):
                lanes = self.pack(
                    [
                        self.finish(numbers[f * vectors + v], sides[f], f, v, exists)
                        for f in range(group * self.held, (group + 1) * self.held)
                    ]
                )
                if mask is not None:
                    lanes = b.select(mask, lanes, self.gap())
                put(lanes, group, v * b.lanes, exists)

    def sides_of(
        self, sides: Sequence[Index], image: Index, first: Index, f: int, at: Index
    ) -> Sequence[Index]:
        """`sides`, the addresses of extras for filter `first`, for `first + f`."""
        del image, first, f, at
        return sides

    def side(self, extra: Extra, image: Index, first: Index, at: Index) -> Index:
        """As `PositionStore`; a plane of an extra may hold several filters."""
        return super().side(extra, image, self.b.quotient(first, extra.held), at)

    def other(
        self,
        number: int,
        sides: Sequence[Index],
        f: int,
        v: int,
        exists: SSAValue | None,
        bands: Bands,
    ) -> SSAValue:
        """As `PositionStore`; filters of a lane share what is read of an extra."""
        held = self.extras[number].held
        if held == 1:
            return super().other(number, sides, f, v, exists, bands)
        group, part = divmod(f, held)
        key = (number, group, v)
        if key not in self._parts:
            lanes = super().other(number, sides, group, v, exists, bands)
            self._parts[key] = self.unpack(lanes)
        return self._parts[key][part]
