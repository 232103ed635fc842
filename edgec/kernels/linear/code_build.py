"""What linear kernels on stored codes share: blocks of outputs, few rows at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from xdsl.ir import SSAValue

from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.linear.code_loop import CodeLoop, Places
from edgec.kernels.linear.codes import CodeShape
from edgec.kernels.linear.dense import LinearEnds
from edgec.kernels.linear.product import for_blocks


class CodeBuild(ABC):
    """State while one kernel is built.

    Args:
        b: the builder of the kernel.
        codes: the weight.
        ends: rows, inputs, results and steps.
        loop: the loop over the codes.
        most: sums that stand in registers.
    """

    def __init__(
        self,
        b: KernelBuilder,
        codes: CodeShape,
        ends: LinearEnds,
        loop: CodeLoop,
        most: int,
    ) -> None:
        self.b, self.codes, self.ends, self.loop = b, codes, ends, loop
        self.few = min(ends.rows, max(1, most // loop.vectors))

    def build(self) -> None:
        """Units are blocks of outputs; each reads its weights once per few rows."""
        b, rows = self.b, self.ends.rows

        def unit(block: SSAValue) -> None:
            def tile(row: Index, many: int) -> None:
                self._tile(block, row, many)

            def some(number: Index) -> None:
                for_blocks(b, rows, self.few, number, tile)

            b.repeat(-(-rows // self.few), some)

        b.units(self.codes.blocks, unit)

    @abstractmethod
    def totals(self, block: SSAValue, places: Places) -> Sequence[SSAValue]:
        """The sums of a block of outputs, `[rows][vectors]`."""

    @abstractmethod
    def store(
        self,
        first: Index,
        row: Index,
        rows: int,
        totals: Sequence[SSAValue],
        count: int,
    ) -> None:
        """The first `count` outputs of a block that begins with output `first`."""

    def _tile(self, block: SSAValue, row: Index, rows: int) -> None:
        """One block of outputs for a few rows; the last one may be short."""
        b, codes = self.b, self.codes
        totals = self.totals(block, self.ends.x.several(b, row, rows))
        first = b.times(block, codes.block)
        full, rest = divmod(codes.outputs, codes.block)

        def store(count: int) -> None:
            self.store(first, row, rows, totals, count)

        if not rest:
            store(codes.block)
        elif not full:
            store(rest)
        else:
            is_last = b.equal(block, full)
            b.when(is_last, lambda: store(rest), lambda: store(codes.block))
