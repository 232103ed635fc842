"""One alternative for each of many things that depend on each other in pairs.

The partitioned boolean quadratic problem (PBQP): each node has alternatives with costs,
each edge a matrix with a cost for each pair of its nodes' alternatives; wanted is the
assignment of least total cost. Nodes of degree 0, 1 and 2 are removed by dynamic
programming, which keeps the least cost: chains, trees, and whatever series and parallel
composition makes of them are solved exactly. A node of higher degree that is met when
no other is left is decided by a guess; then the result may not be the best, which
`Solution.is_exact` says.

Source: Scholz and Eckstein, Register allocation for irregular architectures (LCTES
2002), for the reductions R0, R1, R2 and RN; Anderson and Gregg, Optimal DNN primitive
selection with partitioned boolean quadratic programming (CGO 2018), for their use on
layers and layouts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Costs = npt.NDArray[np.float64]


@dataclass
class Problem:
    """Nodes, numbered as they were added, and the edges between them."""

    nodes: list[Costs] = field(default_factory=list[Costs])
    """Of each node, the cost of each alternative."""
    edges: dict[tuple[int, int], Costs] = field(
        default_factory=dict[tuple[int, int], Costs]
    )
    """Of each pair `(a, b)` with `a < b`, a row for each alternative of `a`."""

    def add_node(self, costs: Sequence[float] | Costs) -> int:
        """Add a node; its number."""
        vector = np.array(costs, np.float64)
        if vector.ndim != 1 or not vector.size:
            raise ValueError(f"a node needs at least one alternative, got {vector}")
        self.nodes.append(vector)
        return len(self.nodes) - 1

    def add_edge(self, a: int, b: int, costs: Costs) -> None:
        """Add to the costs between two nodes; `costs` has a row per alternative of `a`.

        An edge from a node to itself adds to the node.
        """
        matrix = np.array(costs, np.float64)
        wanted = (self.nodes[a].size, self.nodes[b].size)
        if matrix.shape != wanted:
            raise ValueError(f"an edge must have shape {wanted}, got {matrix.shape}")
        if a == b:
            self.nodes[a] = self.nodes[a] + np.diagonal(matrix)
            return
        if a > b:
            a, b, matrix = b, a, matrix.T
        old = self.edges.get((a, b))
        self.edges[a, b] = matrix if old is None else old + matrix

    def cost(self, choice: Sequence[int]) -> float:
        """The total of an assignment."""
        own = sum(float(v[k]) for v, k in zip(self.nodes, choice, strict=True))
        between = (float(m[choice[a], choice[b]]) for (a, b), m in self.edges.items())
        return own + sum(between)


@dataclass(frozen=True)
class Solution:
    """An assignment."""

    choice: tuple[int, ...]
    """The number of the alternative of each node."""
    cost: float
    is_exact: bool
    """Whether no assignment costs less."""


def solve(problem: Problem, start: Sequence[int] | None = None) -> Solution:
    """The assignment of least cost, or a good one that is no worse than `start`.

    Equal problems have equal solutions.
    """
    work = _Reduction(problem)
    work.reduce()
    choice = work.choices()
    if not work.is_exact:
        choice = improved(problem, choice)
        if start is not None:
            choice = min(choice, list(start), key=problem.cost)
    return Solution(tuple(choice), problem.cost(choice), work.is_exact)


def improved(problem: Problem, choice: Sequence[int]) -> list[int]:
    """Change one node at a time for the better, until none can be."""
    better = list(choice)
    around = _neighbours(problem)
    is_done = False
    while not is_done:
        is_done = True
        for node, own in enumerate(problem.nodes):
            total = own.copy()
            for other, matrix in around[node].items():
                total += matrix[:, better[other]]
            best = int(np.argmin(total))
            if total[best] < total[better[node]]:
                better[node], is_done = best, False
    return better


def _neighbours(problem: Problem) -> list[dict[int, Costs]]:
    """Of each node its neighbours, with its own alternatives as rows."""
    around: list[dict[int, Costs]] = [{} for _ in problem.nodes]
    for (a, b), matrix in problem.edges.items():
        around[a][b], around[b][a] = matrix, matrix.T
    return around


Recall = Callable[[Sequence[int]], int]
"""The best alternative of a removed node, once its neighbours are decided."""


class _Reduction:
    """Removes node after node, and remembers how to decide each."""

    def __init__(self, problem: Problem) -> None:
        self.costs = [vector.copy() for vector in problem.nodes]
        self.around = _neighbours(problem)
        self.left = set(range(len(self.costs)))
        self.removed: list[tuple[int, Recall]] = []
        self.is_exact = True

    def reduce(self) -> None:
        """Remove all nodes: those of degree 0 to 2 first, as long as there are some."""
        ready = sorted(self.left, reverse=True)
        while self.left:
            while ready:
                node = ready.pop()
                if node in self.left and len(self.around[node]) <= 2:
                    ready += self._remove(node)
            if self.left:
                ready += self._guess(max(self.left, key=self._degree))

    def choices(self) -> list[int]:
        """Decide the nodes, the last removed first."""
        choice = [0] * len(self.costs)
        for node, recall in reversed(self.removed):
            choice[node] = recall(choice)
        return choice

    def _degree(self, node: int) -> tuple[int, int]:
        """Of equal degrees, the first node is the largest."""
        return len(self.around[node]), -node

    def _take_out(self, node: int) -> list[tuple[int, Costs]]:
        """Forget a node and its edges; the neighbours with their matrices."""
        self.left.remove(node)
        edges = sorted(self.around[node].items(), key=lambda edge: edge[0])
        for other, _ in edges:
            del self.around[other][node]
        return edges

    def _remove(self, node: int) -> list[int]:
        """R0, R1 or R2: what is best for each choice of the neighbours."""
        own, edges = self.costs[node], self._take_out(node)

        def recall(choice: Sequence[int]) -> int:
            return int(np.argmin(sum((m[:, choice[o]] for o, m in edges), own)))

        self.removed.append((node, recall))
        if len(edges) == 1:
            other, matrix = edges[0]
            self.costs[other] += (own[:, None] + matrix).min(axis=0)
        elif len(edges) == 2:
            (a, to_a), (b, to_b) = edges
            both = own[:, None, None] + to_a[:, :, None] + to_b[:, None, :]
            self._connect(a, b, both.min(axis=0))
        return [other for other, _ in edges]

    def _connect(self, a: int, b: int, matrix: Costs) -> None:
        old = self.around[a].get(b)
        total = matrix if old is None else old + matrix
        self.around[a][b], self.around[b][a] = total, total.T

    def _guess(self, node: int) -> list[int]:
        """RN: what is best if each neighbour could choose for itself."""
        if self.costs[node].size > 1:
            self.is_exact = False
        total = self.costs[node].copy()
        for other, matrix in self.around[node].items():
            total += (matrix + self.costs[other]).min(axis=1)
        best = int(np.argmin(total))
        edges = self._take_out(node)
        for other, matrix in edges:
            self.costs[other] += matrix[best]
        self.removed.append((node, lambda _: best))
        return [other for other, _ in edges]
