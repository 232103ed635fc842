"""Which tensors must have rows of one pitch, and how long the pitch must be.

A flat-position convolution reads and writes rows of the same pitch, so its input, its
result and the residual that it adds form one group. Strided convolutions read a copy of
their input, split into phases, whose rows have the pitch of the result's group. Zero
padding lives in the gaps between rows and planes, so a tensor's gaps are as large as
what its readers need.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from edgec.dialects import nn, sq
from edgec.kernels.window import window_of

CACHE_LINE = 16
"""f32 elements of 64 bytes."""
PAGE = 1024
"""f32 elements of 4 KiB: planes whose distance is a multiple of it compete for the same
sets of the L1 cache."""


def convolutions(module: ModuleOp) -> list[sq.ConvOp]:
    """Those of rank 4: there is no kernel for others, which a later pass says."""
    convs = [op for op in module.walk() if isinstance(op, sq.ConvOp)]
    return [op for op in convs if len(nn.shape_of(op.result)) == 4]


def is_strided(op: sq.ConvOp) -> bool:
    """Whether neighbouring results read inputs that are not neighbours."""
    return window_of(op).stride != (1, 1)


def is_split(op: sq.ConvOp) -> bool:
    """Whether the input must be split into phases first.

    A depthwise kernel reads each input for one filter only, so that splitting would
    cost more than loads with a stride.
    """
    assert op.kernel is not None
    return is_strided(op) and op.kernel.family.data != "depthwise"


def is_full(extra: SSAValue, result: SSAValue) -> bool:
    """Whether an extra operand has the result's shape (else it is per channel)."""
    shape = nn.shape_of(extra)
    return shape == nn.shape_of(result) and shape[2] * shape[3] > 1


@dataclass
class Gaps:
    """Zero elements that readers of a tensor need: rows above and below, columns."""

    above: int = 0
    below: int = 0
    left: int = 0
    right: int = 0
    beyond: int = 0
    """Elements that a tap reads after its position: kernels compute positions between
    rows too, and those after the last row must find memory."""

    def include(
        self, rows: tuple[int, int], columns: tuple[int, int], beyond: int
    ) -> None:
        """Also serve a reader with this reach."""
        self.beyond = max(self.beyond, beyond)
        self.above, self.below = max(self.above, rows[0]), max(self.below, rows[1])
        self.left, self.right = max(self.left, columns[0]), max(self.right, columns[1])

    @property
    def between_rows(self) -> int:
        """One gap serves as right of a row and left of the next."""
        return max(self.left, self.right)

    @property
    def between_planes(self) -> int:
        """Rows; one gap serves as below of a plane and above of the next."""
        return max(self.above, self.below)


def reach(op: sq.ConvOp) -> tuple[tuple[int, int], tuple[int, int]]:
    """How far a convolution reads around its input, or each phase of it."""
    window, source = window_of(op), nn.shape_of(op.input)
    result = nn.shape_of(op.result)
    along = window.reach if is_split(op) else window.direct_reach
    return along(0, source[2], result[2]), along(1, source[3], result[3])


def beyond(op: sq.ConvOp) -> int:
    """The largest distance to the right at which a tap reads."""
    window = window_of(op)
    return max(0, *(window.step(1, tap)[1] for tap in range(window.kernel[1])))


def place(
    shape: tuple[int, ...], gaps: Gaps, pitch: int, phase: tuple[int, int] = (1, 1)
) -> sq.LaneAttr | None:
    """The layout of a tensor; None where row-major without gaps serves."""
    rows = -(-shape[2] // phase[0])
    after = max(gaps.between_rows, gaps.beyond)
    plane = (rows + gaps.between_planes) * pitch + after
    before = gaps.above * pitch + gaps.left
    if plane == shape[2] * shape[3] and phase == (1, 1) and not before:
        return None
    plane = _round_up(plane)
    if plane % PAGE == 0:
        plane += CACHE_LINE
    return sq.LaneAttr.of(pitch, plane, _round_up(before), phase)


def _round_up(count: int) -> int:
    return -(-count // CACHE_LINE) * CACHE_LINE


@dataclass
class RowGroups:
    """Groups of tensors with one pitch (union-find), and the gaps of each tensor."""

    parent: dict[SSAValue, SSAValue] = field(default_factory=dict[SSAValue, SSAValue])
    gaps: dict[SSAValue, Gaps] = field(default_factory=dict[SSAValue, Gaps])
    pitches: dict[SSAValue, int] = field(default_factory=dict[SSAValue, int])

    def find(self, value: SSAValue) -> SSAValue:
        """The representative of a tensor's group; adds it if it is new."""
        parent = self.parent.setdefault(value, value)
        if parent is value:
            return value
        root = self.find(parent)
        self.parent[value] = root
        return root

    def join(self, one: SSAValue, other: SSAValue) -> None:
        """Give both tensors the same pitch."""
        self.parent[self.find(one)] = self.find(other)

    def gaps_of(self, value: SSAValue) -> Gaps:
        """The gaps of a tensor; adds it if it is new."""
        self.find(value)
        return self.gaps.setdefault(value, Gaps())

    def pitch(self, value: SSAValue) -> int:
        """The pitch of a tensor's group."""
        return self.pitches[self.find(value)]

    def need(self, value: SSAValue, pitch: int) -> None:
        """The group's rows must be at least so long."""
        root = self.find(value)
        self.pitches[root] = max(pitch, self.pitches.get(root, 1))


def row_groups(module: ModuleOp) -> RowGroups:
    """The groups of all tensors that convolutions touch."""
    groups = RowGroups()
    convs = convolutions(module)
    for op in convs:
        groups.find(op.result)
        is_flat = op.kernel is not None and op.kernel.family.data != "pattern"
        if is_flat and not is_strided(op):
            groups.join(op.input, op.result)
        for extra in op.extras:
            if is_flat and is_full(extra, op.result):
                groups.join(extra, op.result)
    for op in convs:
        if not is_split(op):
            groups.gaps_of(op.input).include(*reach(op), beyond(op))
    for value in list(groups.parent):
        width = nn.shape_of(value)[3]
        groups.need(value, width + groups.gaps_of(value).between_rows)
    for op in convs:
        if is_split(op):
            columns = -(-nn.shape_of(op.input)[3] // window_of(op).stride[1])
            groups.need(op.result, columns + max(reach(op)[1]))
    return groups


def phase_layout(op: sq.ConvOp, pitch: int) -> sq.LaneAttr:
    """The layout of the copy that a strided convolution reads."""
    gaps = Gaps()
    gaps.include(*reach(op), beyond(op))
    layout = place(nn.shape_of(op.input), gaps, pitch, window_of(op).stride)
    assert layout is not None
    return layout
