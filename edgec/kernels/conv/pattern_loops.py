"""The loops over the kernels that one filter keeps in one block of channels.

Four forms, which differ in how they find the input of a tap:

- `pairs`: a table of addresses, one for two taps that stand one above the other: row
  `r` of the lower tap is row `r + 1` of the upper one, so `rows + 1` loads serve
  `2 rows` multiply-adds. Taps without a neighbour follow, one address each;
- `table`: an address per tap;
- `runs`: a loop per pattern, whose taps are constants (ordered storage);
- `switch`: a branch per kernel (storage in its original order).

Source: PatDNN (ASPLOS 2020), section 5.4, for the load that two taps share; the tables
are this project's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from xdsl.ir import SSAValue

from edgec.kernels.builder import KernelBuilder
from edgec.kernels.conv.strip import Reader

Values = Sequence[SSAValue]
Patterns = tuple[tuple[int, ...], ...]
Offsets = tuple[int, ...]

FORMS = ("table", "runs", "switch", "pairs")
"""The forms, by the number that a schedule holds."""


class Loops(Protocol):
    """The loops of one form."""

    @property
    def addresses(self) -> int:
        """Most entries of `where` per kernel."""
        ...

    @property
    def counts(self) -> int:
        """Entries of `counts` per visit: the trips of each loop."""
        ...

    @property
    def cursors(self) -> int:
        """Entries of `starts`: positions that move on from visit to visit."""
        ...

    def visit(
        self,
        b: KernelBuilder,
        rows: int,
        reader: Reader,
        counts: SSAValue,
        cursor: Values,
        values: Values,
    ) -> tuple[Values, Values]:
        """Add the kernels from `cursor` on to `values`; also the next cursor."""
        ...


@dataclass(frozen=True)
class TapLoops:
    """`pairs` and `table`; the cursor is a place in `where` and one in `w`."""

    addresses: int
    """Most pairs and single taps of a kernel."""
    has_pairs: bool

    cursors = 2

    @property
    def counts(self) -> int:
        """Pairs, if there are any, and single taps."""
        return 2 if self.has_pairs else 1

    def visit(
        self,
        b: KernelBuilder,
        rows: int,
        reader: Reader,
        counts: SSAValue,
        cursor: Values,
        values: Values,
    ) -> tuple[Values, Values]:
        """A loop over the pairs, then one over the single taps."""
        widths = (2, 1) if self.has_pairs else (1,)
        for number, width in enumerate(widths):
            trips = b.load_index("counts", counts, number)
            values, cursor = self._loop(b, width, trips, rows, reader, cursor, values)
        return values, cursor

    def _loop(
        self,
        b: KernelBuilder,
        width: int,
        trips: SSAValue,
        rows: int,
        reader: Reader,
        cursor: Values,
        values: Values,
    ) -> tuple[Values, Values]:
        """`width` taps one above the other per trip."""
        where, first = cursor
        stop = b.value(b.plus(where, trips))

        def body(entry: SSAValue, w_at: SSAValue, *acc: SSAValue) -> Values:
            at = b.plus(reader.base, b.load_index("where", entry))
            weights = [
                b.splat(b.load("w", w_at, lanes=1, offset=n)) for n in range(width)
            ]
            sums = list(acc)
            for row in range(rows):
                for tap, weight in enumerate(weights):
                    offset = reader.offset + reader.lowest + (row + tap) * reader.row
                    x = b.load(reader.buffer, at, offset=offset)
                    sums[row] = b.dot(sums[row], x, weight)
            return [b.value(b.plus(w_at, width)), *sums]

        after, *sums = b.loop(where, stop, body, carried=[first, *values])
        return sums, (stop, after)


@dataclass(frozen=True)
class KernelLoops:
    """`runs` and `switch`; the cursor is the number of a kernel."""

    patterns: Patterns
    is_ordered: bool

    cursors = 1

    @property
    def addresses(self) -> int:
        """The channel; its pattern, where the order does not tell."""
        return 1 if self.is_ordered else 2

    @property
    def counts(self) -> int:
        """Kernels of each pattern, or of all together."""
        return len(self.patterns) if self.is_ordered else 1

    def visit(
        self,
        b: KernelBuilder,
        rows: int,
        reader: Reader,
        counts: SSAValue,
        cursor: Values,
        values: Values,
    ) -> tuple[Values, Values]:
        """A loop per pattern, or one with a branch in it."""
        (kernel,) = cursor
        for run in range(self.counts):
            trips = b.load_index("counts", counts, run)
            stop = b.value(b.plus(kernel, trips))
            values = self._loop(b, kernel, stop, values, run, reader)
            kernel = stop
        return values, (kernel,)

    def _loop(
        self,
        b: KernelBuilder,
        begin: SSAValue,
        end: SSAValue,
        values: Values,
        run: int,
        reader: Reader,
    ) -> Values:
        taps = len(self.patterns[0])
        first = b.value(b.times(begin, taps))

        def body(kernel: SSAValue, w_at: SSAValue, *acc: SSAValue) -> Values:
            if self.is_ordered:
                channel = b.load_index("where", kernel)
                result: Values = self._pattern(b, run, channel, w_at, acc, reader)
            else:
                result = self._branch(b, kernel, w_at, acc, reader)
            return [b.value(b.plus(w_at, taps)), *result]

        return b.loop(begin, end, body, carried=[first, *values])[1:]

    def _pattern(
        self,
        b: KernelBuilder,
        pattern: int,
        channel: SSAValue,
        w_at: SSAValue,
        acc: Values,
        reader: Reader,
    ) -> Values:
        """The taps of one pattern are constants."""
        at = b.plus(reader.base, b.times(channel, reader.channel))
        values = list(acc)
        for tap, position in enumerate(self.patterns[pattern]):
            weight = b.splat(b.load("w", w_at, lanes=1, offset=tap))
            for row, value in enumerate(values):
                offset = reader.offset + reader.taps[position] + row * reader.row
                x = b.load(reader.buffer, at, offset=offset)
                values[row] = b.dot(value, x, weight)
        return values

    def _branch(
        self,
        b: KernelBuilder,
        kernel: SSAValue,
        w_at: SSAValue,
        acc: Values,
        reader: Reader,
    ) -> Values:
        """A branch on the kernel's pattern."""
        entry = b.value(b.times(kernel, 2))
        channel = b.load_index("where", entry)
        kind = b.load_index("where", entry, 1)

        def case(pattern: int) -> Callable[[], Values]:
            return lambda: self._pattern(b, pattern, channel, w_at, acc, reader)

        def branch(pattern: int) -> Values:
            if pattern == len(self.patterns) - 1:
                return case(pattern)()
            is_it = b.equal(kind, pattern)
            return b.when(is_it, case(pattern), lambda: branch(pattern + 1))

        return branch(0)


def loops_for(form: str, patterns: Patterns, offsets: Offsets, row: int) -> Loops:
    """The loops of `form` for kernels of these patterns.

    `offsets` are those of the window's positions, `row` that of the next row.
    """
    if form in ("pairs", "table"):
        step = row if form == "pairs" else 0
        groups = [split_taps([offsets[p] for p in q], step) for q in patterns]
        has_pairs = any(len(group) == 2 for taps in groups for group in taps)
        return TapLoops(max(map(len, groups)), has_pairs=has_pairs)
    return KernelLoops(patterns, is_ordered=form == "runs")


def split_taps(offsets: Sequence[int], row: int) -> list[list[int]]:
    """Numbers of the taps in pairs `row` apart, each tap once, as many as there are.

    Taking the lowest free neighbour first leaves one tap of an odd column over. With
    `row` 0 all taps stay single.
    """
    free = sorted(range(len(offsets)), key=lambda number: offsets[number])
    groups: list[list[int]] = []
    while free:
        first = free.pop(0)
        below = [n for n in free if offsets[n] == offsets[first] + row] if row else []
        for number in below[:1]:
            free.remove(number)
        groups.append([first, *below[:1]])
    return groups
