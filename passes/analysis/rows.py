"""Which tensors must have rows of one pitch, and how long the pitch must be.

So it is with the slab of tensors with depth, the rows from one slice to the next.

A flat-position convolution reads and writes rows of the same pitch, so its input, its
result and the residual that it adds form one group. Strided convolutions read a copy of
their input, split into phases, whose rows have the pitch of the result's group. Zero
padding lives in the gaps between rows and planes, so a tensor's gaps are as large as
what its readers need.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from edgec.dialects import nn, sq
from edgec.kernels.conv.window import window_of

CACHE_LINE = 16
"""f32 elements of 64 bytes."""
PAGE = 1024
"""f32 elements of 4 KiB: channels whose distance is a multiple of it compete for the
same sets of the L1 cache."""


def convolutions(module: ModuleOp) -> list[sq.ConvOp]:
    """Those of rank 4 and 5: there is no kernel for others, which a later pass says."""
    convs = [op for op in module.walk() if isinstance(op, sq.ConvOp)]
    return [op for op in convs if len(nn.shape_of(op.result)) in (4, 5)]


def is_strided(op: sq.ConvOp) -> bool:
    """Whether neighbouring results read inputs that are not neighbours."""
    return max(op.stride.get_values()) > 1


def family_of(op: sq.ConvOp) -> str:
    """The family that `choose-kernel` has set."""
    assert op.kernel is not None
    return op.kernel.family.data


def is_split(op: sq.ConvOp, family: str | None = None) -> bool:
    """Whether the input must be split into phases first, for its family or another.

    The 2-D depthwise kernels read each input for one filter only, so that splitting
    would cost more than loads with a stride.
    """
    family = family or family_of(op)
    is_direct = family == "quad_depthwise" or (
        family == "depthwise" and rank_of(op) == 4
    )
    return is_strided(op) and not is_direct


def is_flat(family: str) -> bool:
    """Whether kernels run over flat positions, with one pitch on both sides.

    They read extra operands, and inputs without a stride, as they write.
    """
    return family not in ("pattern", "quad_depthwise")


def rank_of(op: sq.ConvOp) -> int:
    """4 for 2-D convolutions, 5 for 3-D ones."""
    return len(nn.shape_of(op.result))


def is_full(extra: SSAValue, result: SSAValue) -> bool:
    """Whether an extra operand has the result's shape (else it is per channel)."""
    shape = nn.shape_of(extra)
    return shape == nn.shape_of(result) and math.prod(shape[2:]) > 1


Reach = tuple[tuple[int, int], ...]
"""Positions before and after a tensor: slices, rows, columns."""


@dataclass(frozen=True)
class Grid:
    """What tensors of a group have in common."""

    pitch: int
    """Elements from one row to the next."""
    slab: int
    """Rows from one slice to the next; means nothing where there is no depth."""

    def holds(self, need: Grid) -> bool:
        """Whether rows are at least so long, and slices so high."""
        return self.pitch >= need.pitch and self.slab >= need.slab


@dataclass
class Gaps:
    """Zero elements that readers of a tensor need: slices, rows and columns."""

    front: int = 0
    back: int = 0
    above: int = 0
    below: int = 0
    left: int = 0
    right: int = 0
    beyond: int = 0
    """Elements that a tap reads after its position: kernels compute positions between
    rows too, and those after the last row must find memory."""

    def include(self, reach: Reach, beyond: int) -> None:
        """Also serve a reader with this reach."""
        slices, rows, columns = reach
        self.beyond = max(self.beyond, beyond)
        self.front, self.back = max(self.front, slices[0]), max(self.back, slices[1])
        self.above, self.below = max(self.above, rows[0]), max(self.below, rows[1])
        self.left, self.right = max(self.left, columns[0]), max(self.right, columns[1])

    @property
    def between_rows(self) -> int:
        """One gap serves as right of a row and left of the next."""
        return max(self.left, self.right)

    @property
    def between_slices(self) -> int:
        """Rows; one gap serves as below of a slice and above of the next."""
        return max(self.above, self.below)

    def before_planes(self, slab: int) -> int:
        """Rows before the first plane."""
        return self.front * slab + self.above

    def between_planes(self, slab: int) -> int:
        """Rows; one gap serves as after a plane and before the next."""
        return max(self.before_planes(slab), self.back * slab + self.below)


def reach(op: sq.ConvOp, family: str | None = None) -> Reach:
    """How far a convolution reads around its input, or each phase of it."""
    window = window_of(op)
    along = window.reach if is_split(op, family) else window.direct_reach
    sizes = zip(nn.shape_of(op.input)[2:], nn.shape_of(op.result)[2:], strict=True)
    found = [along(axis, *pair) for axis, pair in enumerate(sizes)]
    return (*[(0, 0)] * (3 - len(found)), *found)


def beyond(op: sq.ConvOp) -> int:
    """The largest distance to the right at which a tap reads."""
    window, last = window_of(op), rank_of(op) - 3
    return max(0, *(window.step(last, tap)[1] for tap in range(window.kernel[last])))


def place(
    shape: tuple[int, ...], gaps: Gaps, grid: Grid, phase: Sequence[int] | None = None
) -> sq.LaneAttr | None:
    """The layout of a tensor; None where row-major without gaps serves."""
    spatial, pitch = shape[2:], grid.pitch
    phase = phase or (1,) * len(spatial)
    *deep, height, _ = held(spatial, phase)
    rows = sum((count - 1) * grid.slab for count in deep) + height
    after = max(gaps.between_rows, gaps.beyond)
    plane = (rows + gaps.between_planes(grid.slab)) * pitch + after
    before = gaps.before_planes(grid.slab) * pitch + gaps.left
    if plane == math.prod(spatial) and math.prod(phase) == 1 and not before:
        return None
    plane = _round_up(plane)
    if plane * math.prod(phase) % PAGE == 0:
        plane += CACHE_LINE
    slab = grid.slab if deep else None
    return sq.LaneAttr.of(pitch, plane, _round_up(before), phase, slab=slab)


def held(spatial: Sequence[int], phase: Sequence[int]) -> list[int]:
    """Slices, rows and columns of the largest phase."""
    return [-(-size // count) for size, count in zip(spatial, phase, strict=True)]


def _round_up(count: int) -> int:
    return -(-count // CACHE_LINE) * CACHE_LINE


@dataclass
class RowGroups:
    """Groups of tensors with one grid (union-find), and the gaps of each tensor."""

    parent: dict[SSAValue, SSAValue] = field(default_factory=dict[SSAValue, SSAValue])
    gaps: dict[SSAValue, Gaps] = field(default_factory=dict[SSAValue, Gaps])
    grids: dict[SSAValue, Grid] = field(default_factory=dict[SSAValue, Grid])

    def find(self, value: SSAValue) -> SSAValue:
        """The representative of a tensor's group; adds it if it is new."""
        parent = self.parent.setdefault(value, value)
        if parent is value:
            return value
        root = self.find(parent)
        self.parent[value] = root
        return root

    def join(self, one: SSAValue, other: SSAValue) -> None:
        """Give both tensors the same grid."""
        self.parent[self.find(one)] = self.find(other)

    def gaps_of(self, value: SSAValue) -> Gaps:
        """The gaps of a tensor; adds it if it is new."""
        self.find(value)
        return self.gaps.setdefault(value, Gaps())

    def grid(self, value: SSAValue) -> Grid:
        """The grid of a tensor's group."""
        return self.grids[self.find(value)]

    def need(self, value: SSAValue, pitch: int, slab: int) -> None:
        """The group's rows must be at least so long, its slices so high."""
        root = self.find(value)
        old = self.grids.get(root, Grid(1, 1))
        self.grids[root] = Grid(max(pitch, old.pitch), max(slab, old.slab))


def tied(op: sq.ConvOp) -> list[SSAValue]:
    """What a convolution reads at the grid of its result."""
    if not is_flat(family_of(op)):
        return []
    inputs = [] if is_strided(op) else [op.input]
    return inputs + [extra for extra in op.extras if is_full(extra, op.result)]


def row_groups(module: ModuleOp) -> RowGroups:
    """The groups of all tensors that convolutions touch."""
    groups = RowGroups()
    convs = convolutions(module)
    for op in convs:
        groups.find(op.result)
        for value in tied(op):
            groups.join(value, op.result)
    for op in convs:
        if not is_split(op):
            groups.gaps_of(op.input).include(reach(op), beyond(op))
    for value in list(groups.parent):
        *_, height, width = nn.shape_of(value)
        gaps = groups.gaps_of(value)
        groups.need(value, width + gaps.between_rows, height + gaps.between_slices)
    for op in convs:
        if is_split(op):
            phase = input_need(op, family_of(op))
            groups.need(op.result, phase.pitch, phase.slab)
    return groups


def input_need(op: sq.ConvOp, family: str) -> Grid:
    """The least grid of what a convolution reads: its input, or the phases of it."""
    spatial, (_, rows, columns) = nn.shape_of(op.input)[2:], reach(op, family)
    phase = window_of(op).stride if is_split(op, family) else (1,) * len(spatial)
    *_, height, width = held(spatial, phase)
    return Grid(width + max(columns), height + max(rows))


def phase_layout(op: sq.ConvOp, grid: Grid) -> sq.LaneAttr:
    """The layout of the copy that a strided convolution reads."""
    gaps = Gaps()
    gaps.include(reach(op), beyond(op))
    layout = place(nn.shape_of(op.input), gaps, grid, window_of(op).stride)
    assert layout is not None
    return layout
