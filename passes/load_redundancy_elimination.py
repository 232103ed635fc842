"""What: remove loads that read what a register already holds.

Why: a vector load costs a load port, a multiply-add with a register operand does not.
In a block of 12 filters sharing an input column, 12 loads become one; taps of one
column of a pattern read the same rows of a tile. (LLVM's instruction selection merges
identical loads of one basic block too, so there the pass shortens the IR, not the
machine code.)

How: walk each kernel in order with the set of values that stand for an address (buffer,
index, offset, stride, mask, type). A load of a known address is replaced by the value.
A store forgets the buffer that it writes; a loop forgets, before its body, what its
body writes; a region sees what its surroundings know. After a barrier, which may also
be that of the last turn of a loop, nothing is known.

Invariants: needs `lane` kernels, whose buffers do not overlap; leaves them with fewer
loads and the same values.

Source: PatDNN (ASPLOS 2020), section 5.4: kernel level (taps of one filter) and filter
level (filters that share an input). `filter` on a load, set by the kernel builders,
tells the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from edgec.dialects import lane
from edgec.passes.base import ReportingPass

Address = tuple[SSAValue, SSAValue, SSAValue | None, int, int, object]
Known = dict[Address, lane.LoadOp]
Store = lane.StoreOp | lane.TileStoreOp


def address_of(load: lane.LoadOp) -> Address:
    """What two loads have in common that give the same value."""
    return (
        load.buffer,
        load.index,
        load.mask,
        load.constant_offset,
        load.lane_stride,
        load.result.type,
    )


def written_buffers(op: Operation) -> set[SSAValue]:
    """Buffers that an op or anything inside it stores to."""
    return {o.buffer for o in op.walk() if isinstance(o, Store)}


@dataclass
class Sharing:
    """One walk over a kernel."""

    counts: dict[str, int] = field(default_factory=dict[str, int])

    def block(self, block: Block, known: Known) -> None:
        """Share loads in `block`, given what holds when it is entered."""
        for op in list(block.ops):
            if isinstance(op, lane.LoadOp):
                self.load(op, known)
            elif isinstance(op, Store):
                forget(known, {op.buffer})
            elif isinstance(op, lane.BarrierOp):
                known.clear()
            elif op.regions:
                if any(isinstance(o, lane.BarrierOp) for o in op.walk()):
                    known.clear()
                forget(known, written_buffers(op))
                for region in op.regions:
                    for inner in region.blocks:
                        self.block(inner, dict(known))

    def load(self, op: lane.LoadOp, known: Known) -> None:
        """Keep the first load of an address, replace later ones."""
        self.counts["loads_before"] += 1
        first = known.setdefault(address_of(op), op)
        if first is op:
            return
        same = first.attributes.get("filter") == op.attributes.get("filter")
        self.counts["removed_kernel_level" if same else "removed_filter_level"] += 1
        op.result.replace_all_uses_with(first.result)
        op.detach()
        op.erase()


def forget(known: Known, buffers: set[SSAValue]) -> None:
    """Drop what is known about `buffers`."""
    if buffers:
        for address in [a for a in known if a[0] in buffers]:
            del known[address]


@dataclass(frozen=True)
class LoadRedundancyElimination(ReportingPass):
    """Share loads of the same address.

    **Before**

    ```mlir
    func.func @k(%thread: index, %threads: index, %x: memref<32xf32>,
                 %y: memref<32xf32>) {
      %zero = arith.constant 0 : index
      %a = lane.load %x[%zero] : memref<32xf32>, vector<16xf32>
      %b = lane.load %x[%zero] : memref<32xf32>, vector<16xf32>
      %c = lane.binary mul %a, %b : vector<16xf32>
      lane.store %c, %y[%zero] : vector<16xf32>, memref<32xf32>
      func.return
    }
    ```

    **After**

    ```mlir
    func.func @k(%thread: index, %threads: index, %x: memref<32xf32>,
                 %y: memref<32xf32>) {
      %zero = arith.constant 0 : index
      %a = lane.load %x[%zero] : memref<32xf32>, vector<16xf32>
      %c = lane.binary mul %a, %a : vector<16xf32>
      lane.store %c, %y[%zero] : vector<16xf32>, memref<32xf32>
      func.return
    }
    ```
    """

    name = "load-redundancy-elimination"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count loads in the text of the kernels, and those removed at each level."""
        sharing = Sharing(
            {
                "loads_before": 0,
                "removed_kernel_level": 0,
                "removed_filter_level": 0,
            }
        )
        for function in op.body.block.ops:
            for region in function.regions:
                for block in region.blocks:
                    sharing.block(block, {})
        return sharing.counts
