"""Recurrent layers: one launch for all steps of one layer in one direction.

    for step:  for block of rows, block of elements of the state:
                 sums[gate] = W[gate] h             (edgec.kernels.recurrent.gates)
                 h', c' = the kind's function of gates, sums, h, c;  store
               barrier

Every thread has the same blocks in each step, so its weights stay in its own cache. The
state before a step is the row of the output that the step before it wrote, and cells
stand in their result, so nothing is kept besides. Layers that are too small for a
barrier per step divide the rows of the batch instead, which need not wait for each
other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from xdsl.dialects import func
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.layout import Layout
from edgec.kernels.linear.product import column_masks, for_blocks
from edgec.kernels.recurrent.gates import Buffers, Gates

SMALL = 1 << 15
"""Multiply-adds per step up to which a second thread gains less than a barrier costs:
measured for GRUs of 96 and 128 elements, with AVX-512."""

Values = Sequence[SSAValue]
States = tuple[SSAValue, SSAValue | None]


@dataclass(frozen=True)
class Recurrent:
    """All steps of a layer; `kind` is one of `CELLS`.

    Raises `InvalidInput` for a layout that is not plain.
    """

    kind: str
    gates: Layout
    initial: Layout
    output: Layout
    last: Layout
    cell: Layout | None
    last_cell: Layout | None
    reverse: bool
    has_bias: bool
    product: Gates

    def __post_init__(self) -> None:
        plain = (self.gates, self.initial, self.output, self.last)
        for place in (*plain, self.cell, self.last_cell):
            if place is not None and not place.is_plain:
                raise InvalidInput(f"layouts must be plain, got {place}")

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: gates, the weight, bias if any, states, results."""
        sizes = {
            "bias": self.gates.shape[2] if self.has_bias else 0,
            "initial": self.initial.elements,
            "cell": self.cell.elements if self.cell else 0,
            "output": self.output.elements,
            "last": self.last.elements,
            "last_cell": self.last_cell.elements if self.last_cell else 0,
        }
        buffers: Buffers = {"gates": buffer_type(self.gates.elements)}
        buffers |= self.product.buffers(lanes)
        buffers |= {key: buffer_type(size) for key, size in sizes.items() if size}
        b = KernelBuilder(name, buffers, lanes=self.product.lanes(lanes))
        _Build(b, self).build()
        return b.finish()


@dataclass(frozen=True)
class _Source:
    """Where a step finds the states before it."""

    state: str
    row: Index
    """Address of the first row of the state."""
    cell: str


class _Build:
    """State while one kernel is built."""

    def __init__(self, b: KernelBuilder, spec: Recurrent) -> None:
        self.b, self.spec, self.product = b, spec, spec.product
        self.steps, self.rows, self.hidden = spec.output.shape
        self.row_blocks = -(-self.rows // self.product.rows)
        self.width = self.product.width(b.lanes)
        self.columns = -(-self.hidden // self.width)

    def build(self) -> None:
        """Threads share the blocks of each step, or the rows of all steps."""
        b = self.b
        if self.steps == 1 or self.rows * self.product.work > SMALL:
            self._all_steps(self._shared_step, b.barrier)
            return

        def rows(row_block: Index) -> None:
            self._all_steps(partial(self._rows_step, row_block), lambda: None)

        begin, end = b.share(self.row_blocks)
        b.loop(begin, end, rows)

    def _all_steps(
        self, step: Callable[[_Source, Index], None], meet: Callable[[], None]
    ) -> None:
        """`step(source, time)` for each step, `meet` before each but the first."""
        b, size, last = self.b, self.rows * self.hidden, self.steps - 1
        is_reverse = self.spec.reverse
        step(_Source("initial", 0, "cell"), last if is_reverse else 0)

        def later(number: Index) -> None:
            meet()
            time = b.minus(last, number) if is_reverse else number
            before = b.plus(time, 1 if is_reverse else -1)
            step(_Source("output", b.times(before, size), "last_cell"), time)

        if last:
            b.loop(1, self.steps, later)

    def _shared_step(self, source: _Source, time: Index) -> None:
        """This thread's part of all blocks of a step."""
        b = self.b

        def unit(number: Index) -> None:
            column = b.quotient(number, self.row_blocks)
            self._column(source, time, b.remainder(number, self.row_blocks), column)

        begin, end = b.share(self.columns * self.row_blocks)
        b.loop(begin, end, unit)

    def _rows_step(self, row_block: Index, source: _Source, time: Index) -> None:
        """One step of some rows."""
        self.b.repeat(
            self.columns, lambda column: self._column(source, time, row_block, column)
        )

    def _column(
        self, source: _Source, time: Index, row_block: Index, column: Index
    ) -> None:
        """One block, of full size or a smaller one at the end."""
        b = self.b

        def elements(first: Index, count: int) -> None:
            def rows(row: Index, many: int) -> None:
                self._block(source, time, (row, many), (first, count))

            for_blocks(b, self.rows, self.product.rows, row_block, rows)

        for_blocks(b, self.hidden, self.width, column, elements)

    def _block(
        self,
        source: _Source,
        time: Index,
        rows: tuple[Index, int],
        elements: tuple[Index, int],
    ) -> None:
        """Some rows of one block of elements, each given as the first and how many."""
        b, (row, many), (first, count) = self.b, rows, elements
        masks = column_masks(b, count, self.width // b.lanes)
        start = b.times(row, self.hidden)
        before = b.plus(source.row, start)
        places = [(before, r * self.hidden) for r in range(many)]
        sums = self.product.accumulate(b, source.state, places, first, len(masks))
        own, wide = b.plus(start, first), self.product.gates * self.hidden
        given = b.plus(b.times(b.plus(b.times(time, self.rows), row), wide), first)
        after = b.plus(b.times(time, self.rows * self.hidden), own)
        for v, mask in enumerate(masks):
            shift = v * b.lanes
            load = partial(b.load, mask=mask)
            biases = (
                self._gates("bias", first, shift, mask) if self.spec.has_bias else ()
            )
            for r in range(many):
                offset = r * self.hidden + shift
                hidden = [gate[v] for gate in sums[r]]
                if biases:
                    hidden = [
                        b.binary("add", *pair)
                        for pair in zip(hidden, biases, strict=True)
                    ]
                state, cell = CELLS[self.spec.kind](
                    b,
                    self._gates("gates", given, r * wide + shift, mask),
                    hidden,
                    partial(load, source.state, b.plus(before, first), offset=offset),
                    partial(load, source.cell, own, offset=offset),
                )
                b.store(state, "output", after, offset=offset, mask=mask)
                b.store(state, "last", own, offset=offset, mask=mask)
                if cell is not None:
                    b.store(cell, "last_cell", own, offset=offset, mask=mask)

    def _gates(
        self, buffer: str, at: Index, offset: int, mask: SSAValue | None
    ) -> list[SSAValue]:
        """One vector of each gate."""
        return [
            self.b.load(buffer, at, offset=gate * self.hidden + offset, mask=mask)
            for gate in range(self.product.gates)
        ]


Load = Callable[[], SSAValue]


def _rnn(
    activation: str, b: KernelBuilder, given: Values, hidden: Values, *_: Load
) -> States:
    return b.unary(activation, b.binary("add", given[0], hidden[0])), None


def _gru(
    b: KernelBuilder, given: Values, hidden: Values, state: Load, _: Load
) -> States:
    r, z = (b.unary("sigmoid", b.binary("add", given[g], hidden[g])) for g in (0, 1))
    n = b.unary("tanh", b.dot(given[2], r, hidden[2]))
    return b.dot(n, z, b.binary("sub", state(), n)), None


def _lstm(
    b: KernelBuilder, given: Values, hidden: Values, _: Load, cell: Load
) -> States:
    kinds = ("sigmoid", "sigmoid", "tanh", "sigmoid")
    i, f, d, o = (
        b.unary(kind, b.binary("add", *pair))
        for kind, pair in zip(kinds, zip(given, hidden, strict=True), strict=True)
    )
    after = b.dot(b.binary("mul", i, d), f, cell())
    return b.binary("mul", o, b.unary("tanh", after)), after


CELLS: dict[str, Callable[[KernelBuilder, Values, Values, Load, Load], States]] = {
    "rnn_tanh": partial(_rnn, "tanh"),
    "rnn_relu": partial(_rnn, "relu"),
    "gru": _gru,
    "lstm": _lstm,
}
"""The states after a step: from what the input and the state give to each gate, and the
states before it."""
