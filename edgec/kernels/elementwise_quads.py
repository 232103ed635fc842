"""Chains of elementwise steps on quads and float32, in one pass over memory.

    v = input 0, as the number that it stands for if it is of quads
    v = step(v), or step(v, input k)               all in float32
    y = v, or clamp(round(v * inverse) + zero point), four channels in each lane

Threads share groups of four channels of an image. Operands have the shape of the
result, or one number for each channel. Matrices have lanes along their groups, other
tensors along their last dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from xdsl.dialects import func
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import QUAD, buffer_type
from edgec.dialects.sq import Step
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.epilogue import apply_steps
from edgec.kernels.gaps import has_gaps, zero_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.requantize import Dequantize, Requantize
from edgec.kernels.sweep import for_points, for_vectors

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operand:
    """An input: of quads if it is quantized, else of float32."""

    layout: Layout
    quantized: Dequantize | None = None
    per_channel: bool = False
    """Whether it has one number for each channel, and image if there are several.

    In float32; the stride of channels is 0 if it has one number for all.
    """


@dataclass(frozen=True)
class ElementwiseQuads:
    """`y = steps(inputs[0])`, where step operand `k` is `inputs[1 + k]`.

    `shape` is that of the result in channels, of rank 2 to 5, of which a matrix has to
    become bytes. Raises `InvalidInput` for operands of other shapes, and layouts with
    phases.
    """

    shape: Shape
    inputs: tuple[Operand, ...]
    result: Layout
    steps: tuple[Step, ...]
    requantize: Requantize | None
    """None for a result in float32."""

    def __post_init__(self) -> None:
        if not 2 <= len(self.shape) <= 5:
            raise InvalidInput(f"the rank must be 2 to 5, got the shape {self.shape}")
        if len(self.shape) == 2 and self.requantize is None:
            raise InvalidInput(f"a matrix must become bytes, got {self.shape}")
        quads = (self.shape[0], -(-self.shape[1] // QUAD), *self.shape[2:])
        for operand in self.inputs:
            wanted = self.shape if operand.quantized is None else quads
            if not operand.per_channel:
                _check(operand.layout, wanted)
        _check(self.result, self.shape if self.requantize is None else quads)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x0, x1, …, y."""
        return _Build(self, name, lanes).function()


def _check(layout: Layout, wanted: Shape) -> None:
    if layout.shape != wanted or layout.is_split:
        raise InvalidInput(
            f"an operand must have the shape {wanted} and no phases, got {layout}"
        )


class _Build:
    """State while one kernel is built."""

    def __init__(self, spec: ElementwiseQuads, name: str, lanes: int) -> None:
        self.spec = spec
        buffers = {
            f"x{k}": buffer_type(
                operand.layout.elements, f32 if operand.quantized is None else i32
            )
            for k, operand in enumerate(spec.inputs)
        }
        element = f32 if spec.requantize is None else i32
        buffers["y"] = buffer_type(spec.result.elements, element)
        self.b = KernelBuilder(name, buffers, lanes=lanes)

    def function(self) -> func.FuncOp:
        """Split images x groups of channels among the threads."""
        spec, b = self.spec, self.b
        images, channels = spec.shape[:2]
        if len(spec.shape) == 2:
            b.units(images, self._line)
            return b.finish()
        groups, last = -(-channels // QUAD), (channels - 1) % QUAD + 1

        def unit(number: SSAValue) -> None:
            n, group = b.quotient(number, groups), b.remainder(number, groups)
            whole = partial(self._plane, n, group, QUAD)
            if last == QUAD:
                whole()
            else:
                is_last = b.equal(group, groups - 1)
                b.when(is_last, partial(self._plane, n, group, last), whole)

        b.units(images * groups, unit)
        return b.finish()

    def _line(self, n: Index) -> None:
        """A row of a matrix: vectors of groups, then one that is not full."""
        spec, b = self.spec, self.b
        full, last = divmod(spec.shape[1], QUAD)
        to = self._row(spec.result, False, n, 0, ())

        def groups(count: int) -> Callable[[Index, int, SSAValue | None], None]:
            def vector(x: Index, offset: int, mask: SSAValue | None) -> None:
                found = [
                    self._along(k, n, x, offset, mask, count)
                    for k in range(len(spec.inputs))
                ]
                values = [
                    self._apply([each[c] for each in found]) for c in range(count)
                ]
                self._store(values, b.plus(to, x), offset, mask)

            return vector

        for_vectors(b, full, b.lanes, groups(QUAD))
        if last:
            groups(last)(0, full, b.tail_mask(1))

    def _along(
        self,
        k: int,
        n: Index,
        x: Index,
        offset: int,
        mask: SSAValue | None,
        count: int,
    ) -> list[SSAValue]:
        """The numbers of `count` channels of each group from `x + offset` on."""
        b, operand = self.b, self.spec.inputs[k]
        layout, is_float = operand.layout, operand.quantized is None
        base = self._row(layout, is_float, n if layout.shape[0] > 1 else 0, 0, ())
        step = layout.strides[1]
        if not is_float:
            return self._load(k, b.plus(base, x), offset, mask, count)
        if step == 0:
            return [b.splat(b.load(f"x{k}", base, lanes=1))] * count
        at = b.plus(base, b.times(x, QUAD * step))
        return [
            b.load(
                f"x{k}",
                at,
                offset=(QUAD * offset + c) * step,
                stride=QUAD * step,
                mask=mask,
            )
            for c in range(count)
        ]

    def _plane(self, n: Index, group: Index, count: int) -> None:
        """`count` channels of an image, and their gaps."""
        spec, b = self.spec, self.b
        fixed = {
            k: [self._number(k, n, group, c) for c in range(count)]
            for k, operand in enumerate(spec.inputs)
            if operand.per_channel
        }
        *outer, columns = spec.shape[2:]

        def row(point: Sequence[Index]) -> None:
            bases = [
                self._row(operand.layout, operand.quantized is None, n, group, point)
                for operand in spec.inputs
            ]
            to = self._row(spec.result, spec.requantize is None, n, group, point)

            def vector(x: Index, offset: int, mask: SSAValue | None) -> None:
                found = {
                    k: self._load(k, b.plus(bases[k], x), offset, mask, count)
                    for k in range(len(spec.inputs))
                    if k not in fixed
                }
                values = [
                    self._apply([{**fixed, **found}[k][c] for k in range(len(bases))])
                    for c in range(count)
                ]
                self._store(values, b.plus(to, x), offset, mask)

            for_vectors(b, columns, b.lanes, vector)

        for_points(b, outer, row)
        self._zero_gaps(n, group, count)

    def _row(
        self,
        layout: Layout,
        is_float: bool,
        n: Index,
        group: Index,
        point: Sequence[Index],
    ) -> Index:
        """Where a row of the first channel, or of the quads, begins."""
        b = self.b
        first = b.times(group, QUAD) if is_float else group
        index = (n, first, *point)
        parts = (b.times(i, s) for i, s in zip(index, layout.strides, strict=False))
        return b.plus(layout.origin, *parts)

    def _number(self, k: int, n: Index, group: Index, channel: int) -> SSAValue:
        """The number of one channel."""
        b, layout = self.b, self.spec.inputs[k].layout
        at = b.plus(
            layout.origin + channel * layout.strides[1],
            b.times(n if layout.shape[0] > 1 else 0, layout.strides[0]),
            b.times(group, QUAD * layout.strides[1]),
        )
        return b.splat(b.load(f"x{k}", at, lanes=1))

    def _load(
        self, k: int, at: Index, offset: int, mask: SSAValue | None, count: int
    ) -> list[SSAValue]:
        """The numbers of `count` channels."""
        b, operand = self.b, self.spec.inputs[k]
        if operand.quantized is not None:
            quads = b.load(f"x{k}", at, offset=offset, mask=mask)
            parts = b.unpack_quads(quads)[:count]
            return [operand.quantized.apply(b, part) for part in parts]
        step = operand.layout.strides[1]
        return [
            b.load(f"x{k}", at, offset=offset + c * step, mask=mask)
            for c in range(count)
        ]

    def _apply(self, values: Sequence[SSAValue]) -> SSAValue:
        """All steps, for one channel."""
        steps = self.spec.steps
        return apply_steps(self.b, values[0], steps, lambda k: values[1 + k])

    def _store(
        self, values: Sequence[SSAValue], at: Index, offset: int, mask: SSAValue | None
    ) -> None:
        b, spec = self.b, self.spec
        if spec.requantize is not None:
            quads = spec.requantize.pack(b, values)
            b.store(quads, "y", at, offset=offset, mask=mask)
            return
        for c, value in enumerate(values):
            to = offset + c * spec.result.strides[1]
            b.store(value, "y", at, offset=to, mask=mask)

    def _zero_gaps(self, n: Index, group: Index, count: int) -> None:
        b, spec = self.b, self.spec
        if not has_gaps(spec.result):
            return
        if spec.requantize is not None:
            zeros = b.splat(b.integer(spec.requantize.gap))
            zero_gaps(b, "y", spec.result, n, group, zeros)
            return
        first = b.times(group, QUAD)
        for c in range(count):
            zero_gaps(b, "y", spec.result, n, b.plus(first, c))
