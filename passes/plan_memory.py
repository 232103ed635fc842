"""What: give every activation buffer a place in one arena.

Why: the arena is allocated once; buffers whose lifetimes do not meet share memory,
which keeps the working set in cache and the footprint near the largest live set.

How: a buffer lives from the first launch that names it to the last. Largest first, each
buffer takes the lowest gap between the placed buffers that live at the same time
(greedy by size); then the buffer at the end of the arena is placed earlier, while that
helps. Places are multiples of 64 bytes.

Invariants: needs `@main` with `lane.buffer` and `lane.launch`; leaves each buffer with
an `offset`, and `edgec.arena_bytes` and `edgec.live_bytes` on the module. Buffers that
live at the same time do not overlap.

Source: Pisarchyk and Lee, "Efficient memory management for deep neural net inference",
2020, greedy by size for offset calculation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import FixedBitwidthType, ModuleOp
from xdsl.ir import Operation
from xdsl.utils.hints import isa

from edgec.dialects import lane
from edgec.dialects.nn import int_attr
from edgec.passes.base import ReportingPass

ALIGNMENT = 64
"""Bytes: one cache line, one register of 16 lanes."""
PATIENCE = 12
"""Orders to try in vain before a plan is taken as it is."""


@dataclass(frozen=True)
class Lifetime:
    """A buffer of `size` bytes, used by the launches `first` to `last`."""

    size: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Whether both live at some launch."""
        return self.first <= other.last and other.first <= self.last


def plan(buffers: Sequence[Lifetime]) -> tuple[int, ...]:
    """Offset of each buffer in bytes; sizes are multiples of `ALIGNMENT`.

    Starts with the largest first. While the arena is larger than the largest live set,
    the buffer that ends last is placed earlier and all others again, as long as that
    helps or a few times in vain.
    """
    order = sorted(range(len(buffers)), key=lambda i: (-buffers[i].size, i))
    best = place(buffers, order)
    goal, tries = live_bytes(buffers), 0
    while arena_bytes(buffers, best) > goal and tries < PATIENCE:
        offsets = place(buffers, order)
        last = max(order, key=lambda i: (offsets[i] + buffers[i].size, -i))
        order.remove(last)
        order.insert(0, last)
        found = place(buffers, order)
        tries += 1
        if arena_bytes(buffers, found) < arena_bytes(buffers, best):
            best, tries = found, 0
    return best


def place(buffers: Sequence[Lifetime], order: Sequence[int]) -> tuple[int, ...]:
    """Give each buffer, in `order`, the lowest gap among those placed before it."""
    offsets: dict[int, int] = {}
    for index in order:
        buffer = buffers[index]
        taken = sorted(
            (offset, offset + buffers[i].size)
            for i, offset in offsets.items()
            if buffers[i].meets(buffer)
        )
        start = 0
        for begin, end in taken:
            if begin - start >= buffer.size:
                break
            start = max(start, end)
        offsets[index] = start
    return tuple(offsets[i] for i in range(len(buffers)))


def arena_bytes(buffers: Sequence[Lifetime], offsets: Sequence[int]) -> int:
    """Size of the arena that holds all buffers at their offsets."""
    ends = (o + buffer.size for o, buffer in zip(offsets, buffers, strict=True))
    return max(ends, default=0)


def live_bytes(buffers: Sequence[Lifetime]) -> int:
    """The largest sum of sizes that live at one launch: no plan can be smaller."""
    moments = {buffer.first for buffer in buffers}
    return max(
        (sum(b.size for b in buffers if b.first <= t <= b.last) for t in moments),
        default=0,
    )


def buffer_bytes(op: lane.BufferOp) -> int:
    """Size of a buffer, rounded up to `ALIGNMENT`."""
    type_ = op.result.type
    assert isa(type_, lane.Buffer)
    assert isinstance(type_.element_type, FixedBitwidthType)
    size = type_.get_shape()[0] * type_.element_type.size
    return -(-size // ALIGNMENT) * ALIGNMENT


def lifetimes(main: Sequence[lane.BufferOp]) -> tuple[Lifetime, ...]:
    """Lifetime of each buffer, counting launches of its block."""
    number: dict[Operation, int] = {}
    if main:
        block = main[0].parent_block()
        assert block is not None
        launches = (op for op in block.ops if isinstance(op, lane.LaunchOp))
        number = {op: i for i, op in enumerate(launches)}
    result: list[Lifetime] = []
    for op in main:
        uses = [number[use.operation] for use in op.result.uses]
        first, last = min(uses, default=0), max(uses, default=0)
        result.append(Lifetime(buffer_bytes(op), first, last))
    return tuple(result)


@dataclass(frozen=True)
class PlanMemory(ReportingPass):
    """Set `offset` on every `lane.buffer`.

    **Before**

    ```mlir
    func.func @main(%x: memref<64xf32>, %y: memref<64xf32>) {
      %a = lane.buffer : memref<64xf32>
      %b = lane.buffer : memref<64xf32>
      lane.launch @k(%x, %a) : memref<64xf32>, memref<64xf32>
      lane.launch @k(%a, %b) : memref<64xf32>, memref<64xf32>
      lane.launch @k(%b, %y) : memref<64xf32>, memref<64xf32>
      func.return
    }
    ```

    **After**

    ```mlir
    builtin.module attributes {"edgec.arena_bytes" = 512 : i64,
                               "edgec.live_bytes" = 512 : i64} {
      func.func @main(%x: memref<64xf32>, %y: memref<64xf32>) {
        %a = lane.buffer {offset = 0 : i64} : memref<64xf32>
        %b = lane.buffer {offset = 256 : i64} : memref<64xf32>
        lane.launch @k(%x, %a) : memref<64xf32>, memref<64xf32>
        lane.launch @k(%a, %b) : memref<64xf32>, memref<64xf32>
        lane.launch @k(%b, %y) : memref<64xf32>, memref<64xf32>
        func.return
      }
    }
    ```
    """

    name = "plan-memory"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Report bytes: of the arena, of the largest live set, of all buffers."""
        buffers = [o for o in op.walk() if isinstance(o, lane.BufferOp)]
        lives = lifetimes(buffers)
        offsets = plan(lives)
        for buffer, offset in zip(buffers, offsets, strict=True):
            buffer.properties["offset"] = int_attr(offset)
        arena, live = arena_bytes(lives, offsets), live_bytes(lives)
        op.attributes["edgec.arena_bytes"] = int_attr(arena)
        op.attributes["edgec.live_bytes"] = int_attr(live)
        return {
            "arena_bytes": arena,
            "live_bytes": live,
            "buffer_bytes": sum(life.size for life in lives),
        }
