"""What depthwise kernels share: each unit of work is one filter's plane of one image.

Of one image, large planes are cut in two: threads have about the same rows as in the
layers around, and read what they wrote themselves (`sweep.shares_rows`).

Filter `f` reads channel `f * C / F`. Weights are `[F, taps]`, as torch stores them; a
filter's are splatted once per plane.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.dialects.builtin import i8
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.dialects.sq import Step
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.conv.positions import (
    Extra,
    PositionStore,
    declare_extras,
    row_mask_bytes,
)
from edgec.kernels.layout import Layout
from edgec.kernels.sweep import LARGE_PLANE

RUNS = 16
"""Units that the filters of an image are cut in. Taking one from another thread costs
as much as computing a small plane."""


@dataclass(frozen=True)
class PlaneConv:
    """A convolution with one input channel per filter."""

    source: Layout
    result: Layout
    taps: tuple[int, ...]
    """Offset of each tap from the position, in elements."""
    has_bias: bool
    steps: tuple[Step, ...]
    extras: tuple[Extra, ...]


@dataclass(frozen=True)
class Plane:
    """What one unit of work, or a part of one, computes."""

    image: Index
    filter_: Index
    base: Index
    """Where its input begins."""
    weights: list[SSAValue]
    """A vector for each tap."""
    bias: SSAValue


class PlaneBuild(ABC):
    """State while one kernel is built; `has_row_mask` says if it reads one."""

    def __init__(
        self, spec: PlaneConv, name: str, lanes: int, *, has_row_mask: bool
    ) -> None:
        self.shape = spec
        self.images, self.filters = spec.result.shape[:2]
        buffers = {
            "x": buffer_type(spec.source.elements),
            "w": buffer_type(self.filters * len(spec.taps)),
        }
        if spec.has_bias:
            buffers["bias"] = buffer_type(self.filters)
        if has_row_mask:
            buffers["rows"] = buffer_type(row_mask_bytes(spec.result), i8)
        declare_extras(buffers, spec.extras)
        buffers["y"] = buffer_type(spec.result.elements)
        self.b = KernelBuilder(name, buffers, lanes=lanes)
        self.sink = PositionStore(self.b, spec.result, spec.steps, spec.extras)

    @property
    @abstractmethod
    def steps_of_plane(self) -> int:
        """Tiles, or rows, of a plane."""

    @property
    def parts(self) -> int:
        """Parts that each plane is cut in."""
        is_large = math.prod(self.shape.result.shape[2:]) >= LARGE_PLANE
        return 2 if self.images == 1 and is_large else 1

    def function(self) -> func.FuncOp:
        """Split images x parts x runs of filters among the threads."""
        b = self.b
        run = -(-self.filters // RUNS)
        runs = -(-self.filters // run)

        def unit(number: SSAValue) -> None:
            first = b.times(b.remainder(number, runs), run)
            rest = b.quotient(number, runs)
            image, part = b.quotient(rest, self.parts), b.remainder(rest, self.parts)

            def plane(filter_: SSAValue) -> None:
                self._plane(image, part, filter_)

            end = b.plus(first, run)
            b.loop(first, b.smaller(end, self.filters), plane)

        b.units(self.images * self.parts * runs, unit)
        return b.finish()

    @abstractmethod
    def steps(self, plane: Plane, begin: Index, end: Index) -> None:
        """Some steps of a plane."""

    @abstractmethod
    def finish(self, plane: Plane) -> None:
        """What follows the last step of a plane: its rest and its gaps."""

    def _plane(self, image: Index, part: Index, filter_: Index) -> None:
        spec, b = self.shape, self.b
        multiplier = spec.result.shape[1] // spec.source.shape[1]
        base = b.plus(
            b.times(image, spec.source.strides[0]),
            b.times(b.quotient(filter_, multiplier), spec.source.strides[1]),
        )
        weights_at = b.times(filter_, len(spec.taps))
        weights = [
            b.splat(b.load("w", weights_at, lanes=1, offset=t))
            for t in range(len(spec.taps))
        ]
        bias = (
            b.splat(b.load("bias", filter_, lanes=1))
            if spec.has_bias
            else b.constant(0.0)
        )
        plane = Plane(image, filter_, base, weights, bias)
        begin, end = (
            b.quotient(b.times(number, self.steps_of_plane), self.parts)
            for number in (part, b.plus(part, 1))
        )
        self.steps(plane, begin, end)
        if self.parts == 1:
            self.finish(plane)
        else:
            is_last = b.equal(part, self.parts - 1)
            b.when(is_last, lambda: self.finish(plane))
