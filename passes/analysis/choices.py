"""Families and layouts for all layers of a network at once, as one problem.

Each convolution may run as one of some families at one of some grids (pitch and slab).
A tensor has the grid of the convolution that writes it; others, which a pool or the
caller writes, can have any grid. Where a convolution must read a tensor at another
grid, a conversion copies it. Kernels of flat positions read what they write; the
pattern kernel and a depthwise one with a stride read any grid that has room for their
padding; a convolution with a stride otherwise reads a copy anyhow, the phases.

So a part of a network has a grid of its own where idle lanes cost more than copies. A
linear layer that runs as a convolution (`TURNED`) turns its rows to columns and back,
but for one that takes the result of another.

Conversions of one tensor to one grid are shared, but each of its readers is charged for
it: real costs are at most those predicted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import ReturnOp
from xdsl.ir import Operation, SSAValue

from edgec.dialects import nn, sq
from edgec.kernels.cost import Registers, copy_cycles
from edgec.kernels.cost_columns import turn_cycles
from edgec.kernels.layout import channels_of_lane, stored_shape
from edgec.passes.analysis.predict import conv_cycles, predict_linear, with_margin
from edgec.passes.analysis.rows import (
    Grid,
    convolutions,
    input_need,
    is_flat,
    is_full,
    is_split,
    is_strided,
)
from edgec.passes.analysis.selection import Problem, Solution, solve

Layer = sq.ConvOp | sq.LinearOp
Families = Callable[[Layer], Sequence[str]]
"""The families that a layer may run as."""

TURNED = ("conv", "tiles")
"""Families of linear layers that run as convolutions over their rows."""
MOST_PITCHES = 6
"""Pitches, and slabs, that are tried in a part of a network that convolutions tie
together: in published networks it needs at most four."""


@dataclass(frozen=True)
class Way:
    """One alternative of a layer or of a tensor; linear layers have no grid."""

    family: str
    grid: Grid


@dataclass(frozen=True)
class Copy:
    """A tensor that a convolution shall read at another grid than its own."""

    value: SSAValue
    reader: sq.ConvOp
    grid: Grid


@dataclass(frozen=True)
class Choices:
    """What was decided."""

    families: Mapping[Operation, str]
    copies: tuple[Copy, ...]
    cycles: float
    """Predicted, of layers and of the copies that the choice makes a difference to."""
    is_exact: bool
    """Whether no other choice is predicted to take less."""


@dataclass
class _Node:
    """A layer, or a tensor that no convolution writes."""

    ways: list[Way] = field(default_factory=list[Way])
    costs: list[float] = field(default_factory=list[float])


def choose(
    module: ModuleOp, registers: Registers, l1_bytes: int, families: Families
) -> Choices:
    """The families and copies of least predicted cycles."""
    network = _Network(module, registers, l1_bytes, families)
    solution = solve(network.problem, network.one_grid())
    return network.choices(solution)


def spatial_grid(shape: tuple[int, ...]) -> Grid:
    """The least grid of a tensor by itself."""
    return _grid(len(shape), Grid(shape[-1], shape[-2]))


def _grid(rank: int, grid: Grid) -> Grid:
    """Slabs mean nothing without depth: then they do not tell grids apart."""
    return grid if rank == 5 else Grid(grid.pitch, 1)


@dataclass(frozen=True)
class _Demand:
    """What a family of a convolution asks of grids."""

    least: Grid
    """The least grid that it can run at."""
    is_tied: bool
    """Whether the input must have the grid of the result."""
    has_tied_extras: bool
    """Whether other operands of the result's shape must."""
    input_need: Grid | None
    """The least grid of the input; None if it reads phases of it, a copy anyhow."""

    @staticmethod
    def of(op: sq.ConvOp, family: str) -> _Demand:
        """The demand of one family."""
        rank, own = len(nn.shape_of(op.result)), spatial_grid(nn.shape_of(op.result))
        read = _grid(rank, input_need(op, family))
        splits, flat = is_split(op, family), is_flat(family)
        is_tied = flat and not is_strided(op)
        both = Grid(max(own.pitch, read.pitch), max(own.slab, read.slab))
        least = both if is_tied or splits else own
        return _Demand(least, is_tied, flat, None if splits else read)


class _Conv:
    """A convolution, its demands by family, and the tensors that it reads."""

    def __init__(self, op: sq.ConvOp, families: Sequence[str]) -> None:
        self.op, self.input, self.result = op, op.input, op.result
        self.demands = {family: _Demand.of(op, family) for family in families}
        self.extras = [extra for extra in op.extras if is_full(extra, op.result)]
        self.reads = tuple(dict.fromkeys((self.input, *self.extras)))

    def tied(self) -> list[SSAValue]:
        """What some family reads at the grid of the result."""
        demands = self.demands.values()
        tied = [self.input] if any(each.is_tied for each in demands) else []
        return tied + (self.extras if any(d.has_tied_extras for d in demands) else [])

    def wanted(self, value: SSAValue, way: Way, found: Grid) -> Grid | None:
        """The grid at which it must read a tensor, unless `found` will do."""
        demand, is_input = self.demands[way.family], value is self.input
        is_extra = not is_input or value in self.extras
        if (is_input and demand.is_tied) or (is_extra and demand.has_tied_extras):
            return None if found == way.grid else way.grid
        need = demand.input_need if is_input else None
        return None if need is None or found.holds(need) else need


def positions_at(shape: tuple[int, ...], grid: Grid) -> int:
    """Positions of a result plane that a flat-position kernel computes."""
    *deep, height, _ = shape[2:]
    return (sum((count - 1) * grid.slab for count in deep) + height) * grid.pitch


def conversion_cycles(value: SSAValue) -> float:
    """A copy of a tensor to another layout."""
    shape = stored_shape(value)
    return copy_cycles(math.prod(shape[:-1]), shape[-1])


class _Network:
    """The problem, and what its nodes and edges stand for."""

    def __init__(
        self, module: ModuleOp, registers: Registers, l1: int, families: Families
    ) -> None:
        self.registers, self.l1_bytes = registers, l1
        self.convs = [_Conv(op, families(op)) for op in convolutions(module)]
        linears = [op for op in module.walk() if isinstance(op, sq.LinearOp)]
        self.linears = {op: families(op) for op in linears}
        self.problem = Problem()
        self.numbers: dict[SSAValue, int] = {}
        """The node of a tensor is that of the convolution which writes it."""
        self.linear_numbers: dict[sq.LinearOp, int] = {}
        self.nodes: list[_Node] = []
        self.grids = _grids(self.convs)
        for conv in self.convs:
            self._add_conv(conv)
        for conv in self.convs:
            for value in conv.reads:
                self._add_tensor(value)
            self._add_reads(conv)
        for linear in linears:
            self._add_linear(linear)

    def _add(self, node: _Node) -> int:
        self.nodes.append(node)
        return self.problem.add_node(node.costs)

    def _add_conv(self, conv: _Conv) -> None:
        op, shape, node = conv.op, nn.shape_of(conv.result), _Node()
        own = spatial_grid(shape)
        is_result = any(isinstance(use.operation, ReturnOp) for use in op.result.uses)
        for family, demand in conv.demands.items():
            for grid in self.grids[op.result]:
                if not grid.holds(demand.least):
                    continue
                positions = positions_at(shape, grid)
                cycles = shape[0] * conv_cycles(
                    op, family, positions, self.registers, self.l1_bytes
                )
                cycles = with_margin(family, cycles)
                if is_result and grid != own:
                    cycles += conversion_cycles(op.result)
                node.ways.append(Way(family, grid))
                node.costs.append(cycles)
        self.numbers[op.result] = self._add(node)

    def _add_tensor(self, value: SSAValue) -> None:
        """A tensor that something else writes: any grid is as good."""
        if value in self.numbers:
            return
        need = spatial_grid(nn.shape_of(value))
        grids = [grid for grid in self.grids[value] if grid.holds(need)]
        ways = [Way("", grid) for grid in grids]
        self.numbers[value] = self._add(_Node(ways, [0.0] * len(ways)))

    def _add_reads(self, conv: _Conv) -> None:
        reader = self.numbers[conv.result]
        for value in conv.reads:
            writer, copied = self.numbers[value], conversion_cycles(value)
            sources, ways = self.nodes[writer].ways, self.nodes[reader].ways
            costs = np.zeros((len(sources), len(ways)))
            for i, source in enumerate(sources):
                for j, way in enumerate(ways):
                    if conv.wanted(value, way, source.grid) is not None:
                        costs[i, j] = copied
            if costs.any():
                self.problem.add_edge(writer, reader, costs)

    def _add_linear(self, op: sq.LinearOp) -> None:
        """Alternatives with all that they turn; an edge for what two turn in vain."""
        prediction = predict_linear(op, self.registers)
        node = _Node()
        for family in self.linears[op]:
            node.ways.append(Way(family, Grid(1, 1)))
            node.costs.append(prediction[family])
        self.linear_numbers[op] = number = self._add(node)
        before_it = op.input.owner
        if not isinstance(before_it, sq.LinearOp):
            return
        writer = self.linear_numbers[before_it]
        *lead, columns = nn.shape_of(op.input)
        held = channels_of_lane(op.input)
        moved = turn_cycles(math.prod(lead), -(-columns // held))
        turns = 2 if op.input.has_one_use() else 1  # others read it turned back
        saved = np.zeros((len(self.nodes[writer].ways), len(node.ways)))
        for i, before in enumerate(self.nodes[writer].ways):
            for j, after in enumerate(node.ways):
                if before.family in TURNED and after.family in TURNED:
                    saved[i, j] = -turns * moved
        self.problem.add_edge(writer, number, saved)

    def one_grid(self) -> list[int]:
        """Each layer at its best by itself, all that is tied at the longest pitch."""
        start = [0] * len(self.nodes)
        for number, node in enumerate(self.nodes):
            largest = max(way.grid.pitch for way in node.ways)
            slab = max(way.grid.slab for way in node.ways)
            last = Grid(largest, slab)
            same = [k for k, way in enumerate(node.ways) if way.grid == last]
            start[number] = min(same, key=lambda k: node.costs[k])
        return start

    def choices(self, solution: Solution) -> Choices:
        """What a solution says of layers and tensors."""
        ways = [n.ways[k] for n, k in zip(self.nodes, solution.choice, strict=True)]
        chosen = {value: ways[number] for value, number in self.numbers.items()}
        copies: list[Copy] = []
        for conv in self.convs:
            way = chosen[conv.result]
            for value in conv.reads:
                wanted = conv.wanted(value, way, chosen[value].grid)
                if wanted is not None:
                    copies.append(Copy(value, conv.op, wanted))
        families: dict[Operation, str] = {
            **{conv.op: chosen[conv.result].family for conv in self.convs},
            **{op: ways[number].family for op, number in self.linear_numbers.items()},
        }
        return Choices(families, tuple(copies), solution.cost, solution.is_exact)


def _grids(convs: Sequence[_Conv]) -> Mapping[SSAValue, Sequence[Grid]]:
    """The grids that are worth trying for each tensor that convolutions touch.

    They are those that some member of the same part of the network needs.
    """
    parent: dict[SSAValue, SSAValue] = {}

    def find(value: SSAValue) -> SSAValue:
        while parent.setdefault(value, value) is not value:
            value = parent[value]
        return value

    for conv in convs:
        for value in (conv.result, *conv.reads):
            find(value)
        for value in conv.tied():
            parent[find(value)] = find(conv.result)
    needs: dict[SSAValue, list[Grid]] = {}
    for value in parent:
        needs.setdefault(find(value), []).append(spatial_grid(nn.shape_of(value)))
    for conv in convs:
        for demand in conv.demands.values():
            needs[find(conv.result)].append(demand.least)
            if demand.input_need is not None:
                needs[find(conv.input)].append(demand.input_need)
    tried = {root: _worth_trying(found) for root, found in needs.items()}
    return {value: tried[find(value)] for value in parent}


def _worth_trying(needs: Sequence[Grid]) -> list[Grid]:
    """Every pitch with every slab; of many the longest, and some between."""
    pitches = _some({grid.pitch for grid in needs})
    slabs = _some({grid.slab for grid in needs})
    return [Grid(pitch, slab) for pitch in pitches for slab in slabs]


def _some(sizes: set[int]) -> list[int]:
    """At most `MOST_PITCHES` sizes, evenly taken from the sorted ones."""
    found = sorted(sizes)
    last, most = len(found) - 1, MOST_PITCHES
    if len(found) <= most:
        return found
    return [found[round(k * last / (most - 1))] for k in range(most)]
