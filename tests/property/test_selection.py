"""The solver of choices that depend on each other, against trying them all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.passes.analysis.selection import Costs, Problem, improved, solve


def best(problem: Problem) -> float:
    """The least cost, by trying every assignment."""
    every = itertools.product(*(range(node.size) for node in problem.nodes))
    return min(problem.cost(choice) for choice in every)


@st.composite
def costs(draw: st.DrawFn, *shape: int) -> Costs:
    """Whole numbers, so that sums are exact; some are negative."""
    size = int(np.prod(shape))
    number = st.integers(-5, 20).map(float)
    values = draw(st.lists(number, min_size=size, max_size=size))
    return np.array(values).reshape(shape)


@st.composite
def problems(draw: st.DrawFn, most_nodes: int = 6) -> Problem:
    """Any graph, with edges both ways round and from a node to itself."""
    problem = Problem()
    for size in draw(st.lists(st.integers(1, 3), min_size=1, max_size=most_nodes)):
        problem.add_node(draw(costs(size)))
    node = st.integers(0, len(problem.nodes) - 1)
    for a, b in draw(st.lists(st.tuples(node, node), max_size=9)):
        matrix = draw(costs(problem.nodes[a].size, problem.nodes[b].size))
        problem.add_edge(a, b, matrix)
    return problem


@st.composite
def series_parallel(draw: st.DrawFn) -> Problem:
    """An edge of which parts are replaced by two in a row, or two side by side."""
    problem = Problem()
    sizes = [draw(st.integers(1, 3)) for _ in range(2)]
    edges = [(0, 1)]
    for _ in range(draw(st.integers(0, 5))):
        number = draw(st.integers(0, len(edges) - 1))
        a, b = edges[number]
        if draw(st.booleans()):
            sizes.append(draw(st.integers(1, 3)))
            edges[number : number + 1] = [(a, len(sizes) - 1), (len(sizes) - 1, b)]
        else:
            edges.append((a, b))
    for size in sizes:
        problem.add_node(draw(costs(size)))
    for a, b in edges:
        problem.add_edge(a, b, draw(costs(sizes[a], sizes[b])))
    return problem


@given(problems())
def test_no_assignment_is_better_where_it_says_so(problem: Problem) -> None:
    solution = solve(problem)
    least = best(problem)
    assert solution.cost == problem.cost(solution.choice)
    assert solution.cost >= least
    if solution.is_exact:
        assert solution.cost == least


@given(series_parallel())
def test_series_parallel_graphs_are_solved(problem: Problem) -> None:
    solution = solve(problem)
    assert solution.is_exact
    assert solution.cost == best(problem)


@given(problems(), st.data())
def test_never_worse_than_the_start(problem: Problem, data: st.DataObject) -> None:
    start = [data.draw(st.integers(0, node.size - 1)) for node in problem.nodes]
    assert solve(problem, start).cost <= problem.cost(start)
    assert problem.cost(improved(problem, start)) <= problem.cost(start)


def test_what_is_forbidden_is_not_chosen() -> None:
    """K4, which is no series-parallel graph: all nodes must agree."""
    problem = Problem()
    for number in range(4):
        problem.add_node([0.0, float(number == 3) * -10.0])
    agree = np.array([[0.0, np.inf], [np.inf, 0.0]])
    for a, b in itertools.combinations(range(4), 2):
        problem.add_edge(a, b, agree)
    solution = solve(problem, (0, 0, 0, 0))
    assert solution.choice in ((0, 0, 0, 0), (1, 1, 1, 1))
    assert not solution.is_exact


def test_shapes_are_checked() -> None:
    problem = Problem()
    problem.add_node([1.0])
    problem.add_node([1.0, 2.0])
    with pytest.raises(ValueError, match=r"shape \(1, 2\), got \(2, 1\)"):
        problem.add_edge(0, 1, np.zeros((2, 1)))
    with pytest.raises(ValueError, match="at least one alternative"):
        problem.add_node([])
