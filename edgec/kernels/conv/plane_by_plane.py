"""What depthwise kernels share: each unit of work is one filter's plane of one image.

Filter `f` reads channel `f * C / F`. Weights are `[F, taps]`, as torch stores them; a
filter's are splatted once per plane.
"""

from __future__ import annotations

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

    def function(self) -> func.FuncOp:
        """Split images x filters among the threads."""
        b = self.b

        def unit(number: SSAValue) -> None:
            filter_ = b.remainder(number, self.filters)
            self._plane(b.quotient(number, self.filters), filter_)

        b.units(self.images * self.filters, unit)
        return b.finish()

    @abstractmethod
    def plane(
        self,
        image: Index,
        filter_: Index,
        base: Index,
        weights: list[SSAValue],
        bias: SSAValue,
    ) -> None:
        """All results of a plane, and its gaps; `base` is where its input begins."""

    def _plane(self, image: Index, filter_: Index) -> None:
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
        self.plane(image, filter_, base, weights, bias)
