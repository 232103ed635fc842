"""Projections of every scheme: nearest, idempotent, of the density asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgec.compress.blocks import bcr_mask, bsp_mask
from edgec.compress.geometry import Bools, Floats, Geometry
from edgec.compress.granules import keep_best, largest
from edgec.compress.parsing import parse_scheme
from edgec.dialects import columns, fkw
from edgec.passes.encode_sparsity import columns_cost

densities = st.sampled_from([0.01, 0.1, 0.25, 0.4, 0.5, 0.75, 1.0])

GRANULES = {
    "unstructured": (1, 1, 1),
    "connectivity": (1, 1, 99),
    "column:2": (2, 1, 1),
    "block-punched:2": (2, 1, 1),
    "block-punched:2x2": (2, 2, 1),
    "kgs:2x3": (2, 3, 1),
    "filter": (1, 99, 99),
    "channel": (99, 1, 99),
}
"""Filters, channels and taps of a granule; 99 is more than there are."""


def integers(shape: Sequence[int]) -> st.SearchStrategy[Floats]:
    """Small integers: sums of squares are exact, and ties are frequent."""
    return hnp.arrays(np.float32, tuple(shape), elements=st.integers(-4, 4))


def conv(shape: Sequence[int], groups: int = 1) -> Geometry:
    """A convolution whose kernel has the taps of `shape` in one row."""
    filters, channels, taps = shape
    return Geometry("convolution", filters, channels, (1, taps), groups)


def energy(weight: Floats, mask: Bools) -> float:
    """Sum of squares that a mask keeps: the rest is the squared distance."""
    return float(np.square(weight[mask].astype(np.float64)).sum())


def boxes(shape: Sequence[int], granule: Sequence[int], groups: int) -> list[Bools]:
    """The mask of every granule, by slicing: the slow, obvious way."""
    found: list[Bools] = []
    each = shape[0] // groups
    for group, f, c, t in product(
        range(groups),
        range(0, each, granule[0]),
        range(0, shape[1], granule[1]),
        range(0, shape[2], granule[2]),
    ):
        mask = np.zeros(shape, np.bool_)
        inside = mask[group * each : (group + 1) * each]
        inside[f : f + granule[0], c : c + granule[1], t : t + granule[2]] = True
        found.append(mask)
    return found


def subsets(masks: list[Bools]) -> Iterator[Bools]:
    """The union of every choice of granules."""
    for count in range(len(masks) + 1):
        for chosen in combinations(masks, count):
            yield np.logical_or.reduce(chosen) if chosen else np.zeros_like(masks[0])


@pytest.mark.parametrize("name", GRANULES)
@given(st.data(), densities)
def test_no_choice_of_as_many_weights_is_nearer(
    name: str, data: st.DataObject, density: float
) -> None:
    is_small = GRANULES[name] in ((1, 1, 1), (2, 1, 1))
    shape = data.draw(
        st.sampled_from([(3, 2, 1), (2, 2, 2)] if is_small else [(3, 3, 2)])
    )
    weight = data.draw(integers(shape))
    mask = parse_scheme(name).mask(weight, conv(shape), density)
    masks = boxes(shape, GRANULES[name], 1)
    assert all(mask[box].all() or not mask[box].any() for box in masks)
    rivals = (m for m in subsets(masks) if m.sum() <= mask.sum())
    assert energy(weight, mask) == max(energy(weight, rival) for rival in rivals)


@pytest.mark.parametrize(
    ("name", "granule", "shape"),
    [
        ("column:3", (3, 1, 1), (4, 3, 2)),
        ("block-punched:3x2", (3, 2, 1), (10, 3, 1)),
        ("kgs:2x2", (2, 2, 1), (6, 3, 1)),
        ("unstructured", (1, 1, 1), (4, 2, 1)),
    ],
)
@given(st.data(), densities)
def test_blocks_of_a_grouped_convolution_stay_inside_groups(
    name: str,
    granule: tuple[int, int, int],
    shape: tuple[int, int, int],
    data: st.DataObject,
    density: float,
) -> None:
    weight = data.draw(integers(shape))
    mask = parse_scheme(name).mask(weight, conv(shape, 2), density)
    masks = boxes(shape, granule, 2)
    assert all(mask[box].all() or not mask[box].any() for box in masks)
    # Every choice of granules, as rows of a matrix.
    choices = np.array(list(product((0, 1), repeat=len(masks))))
    energies = choices @ np.array([energy(weight, box) for box in masks])
    sizes = choices @ np.array([int(box.sum()) for box in masks])
    assert energy(weight, mask) == energies[sizes <= mask.sum()].max()


@given(integers((2, 7, 2)), st.sampled_from([(1, 4), (2, 4), (3, 5), (2, 9)]))
def test_n_of_m_keeps_the_largest_of_each_group(
    weight: Floats, ratio: tuple[int, int]
) -> None:
    n, m = ratio
    mask = parse_scheme(f"{n}:{m}").mask(weight, conv(weight.shape), n / m)
    for start in range(0, 7, m):
        group = np.moveaxis(weight[:, start : start + m], 1, -1).reshape(4, -1)
        kept = np.moveaxis(mask[:, start : start + m], 1, -1).reshape(4, -1)
        count = -(-n * group.shape[1] // m)
        for row, keep in zip(group, kept, strict=True):
            rivals = [
                float(np.square(row[list(chosen)]).sum())
                for chosen in combinations(range(len(row)), count)
            ]
            assert keep.sum() == count
            assert np.square(row[keep]).sum() == max(rivals)


@given(integers((3, 4, 1)), st.integers(1, 12))
def test_ties_go_to_the_earlier(weight: Floats, count: int) -> None:
    values = np.square(weight.astype(np.float64)).reshape(-1)
    expected = np.zeros(12, np.bool_)
    expected[sorted(range(12), key=lambda i: (-values[i], i))[:count]] = True
    assert np.array_equal(largest(values, count), expected)
    assert np.array_equal(keep_best(values, np.full(12, 3), 3.0 * count), expected)


ALL = (
    *GRANULES,
    *("2:4", "3:5", "bcr:2x5", "bcr:4x4", "bcr:8x64", "bsp:2x4", "bsp:8x64"),
)


@st.composite
def weights(draw: st.DrawFn) -> Floats:
    """A weight of odd size: integers, or normal numbers without ties."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 8), st.integers(1, 4)))
    if draw(st.booleans()):
        return draw(integers(shape))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.standard_normal(shape).astype(draw(st.sampled_from(["f4", "f8"])))


@pytest.mark.parametrize("name", ALL)
@given(weights(), st.one_of(densities, st.floats(0.001, 1)))
def test_projecting_again_changes_nothing(
    name: str, weight: Floats, density: float
) -> None:
    scheme = parse_scheme(name)
    layer = conv(weight.shape)
    once = np.where(scheme.mask(weight, layer, density), weight, 0)
    again = np.where(scheme.mask(once, layer, density), once, 0)
    assert np.array_equal(once, again)


@pytest.mark.parametrize("name", GRANULES)
@given(weights(), st.floats(0.001, 1))
def test_the_density_is_met_within_a_granule(
    name: str, weight: Floats, density: float
) -> None:
    mask = parse_scheme(name).mask(weight, conv(weight.shape), density)
    largest_box = max(b.sum() for b in boxes(weight.shape, GRANULES[name], 1))
    assert mask.any()
    assert abs(mask.sum() - density * mask.size) <= largest_box


# BCR and BSP


@given(weights(), st.integers(1, 5), st.integers(1, 9), st.floats(0.01, 1))
def test_bcr_drops_rows_and_columns_of_each_block(
    weight: Floats, rows: int, wide: int, density: float
) -> None:
    mask = bcr_mask(weight, density, rows, wide).reshape(len(weight), -1)
    for top, left in product(
        range(0, mask.shape[0], rows), range(0, mask.shape[1], wide)
    ):
        block = mask[top : top + rows, left : left + wide]
        live_rows, live_columns = block.any(axis=1), block.any(axis=0)
        assert np.array_equal(block, np.logical_and.outer(live_rows, live_columns))
        assert block.any()
        granule = max(block.shape)
        assert abs(block.sum() - density * block.size) <= granule


def test_bcr_drops_the_weakest_columns_first_then_rows() -> None:
    # Two rounds of half the columns, then half the rows; the first decides.
    weight = np.array([[9, 1, 8, 1], [1, 7, 1, 1]], np.float32)[:, :, None]
    mask = bcr_mask(weight, 0.25, 2, 4).reshape(2, 4)
    assert mask.tolist() == [[True, False, True, False], [False] * 4]


@given(weights(), st.integers(1, 5), st.integers(1, 9), st.floats(0.07, 1))
def test_bsp_keeps_the_strongest_columns_of_each_strip_and_block(
    weight: Floats, rows: int, wide: int, density: float
) -> None:
    mask = bsp_mask(weight, density, rows, wide).reshape(len(weight), -1)
    squares = np.square(weight.astype(np.float64)).reshape(mask.shape)
    for top, left in product(
        range(0, mask.shape[0], rows), range(0, mask.shape[1], wide)
    ):
        block = mask[top : top + rows, left : left + wide]
        assert (block.all(axis=0) | ~block.any(axis=0)).all()
        energies = squares[top : top + rows, left : left + wide].sum(axis=0)
        kept = block.any(axis=0)
        if kept.any() and not kept.all():
            assert energies[kept].min() >= energies[~kept].max()
    assert abs(mask.sum() - density * mask.size) <= rows


@given(st.integers(0, 2**32 - 1), st.floats(0.005, 0.06))
def test_bsp_drops_rows_below_one_column_in_sixteen(seed: int, density: float) -> None:
    weight = np.random.default_rng(seed).standard_normal((40, 64, 1))
    mask = bsp_mask(weight, density, 4, 32)[:, :, 0]
    live = mask.any(axis=1)
    assert 0 < live.sum() < 40
    assert set(mask[live].sum(axis=1).tolist()) == {4}
    assert abs(mask.sum() - density * mask.size) <= 4
    columns_only = bsp_mask(weight, 1 / 16, 4, 32)[:, :, 0]
    energies = np.where(columns_only, np.square(weight[:, :, 0]), 0).sum(axis=1)
    assert energies[live].min() >= energies[~live].max()


def test_bsp_keeps_one_column_of_a_tiny_matrix() -> None:
    weight = np.array([[1, 3], [2, 1]], np.float32)[:, :, None]
    assert bsp_mask(weight, 0.07, 1, 2)[:, :, 0].tolist() == [
        [False, True],
        [False] * 2,
    ]


# What is stored, and what the compiler finds


@pytest.mark.parametrize(
    "name",
    ["unstructured", "2:4", "column:4", "block-punched:8x4", "bcr:8x16", "bsp:4x8"],
)
@given(weights(), densities)
def test_stored_bytes_are_those_of_compressed_columns(
    name: str, weight: Floats, density: float
) -> None:
    scheme = parse_scheme(name)
    layer = conv(weight.shape)
    kept = np.where(scheme.mask(weight, layer, density), weight, 0).astype(np.float32)
    stored = scheme.stored(kept != 0, layer, 4)
    assert stored.num_bytes == columns.pack(kept, stored.block).stored_bytes


@given(weights(), densities)
def test_filters_are_stored_with_the_empty_ones_last(
    weight: Floats, density: float
) -> None:
    scheme, layer = parse_scheme("filter"), conv(weight.shape)
    kept = np.where(scheme.mask(weight, layer, density), weight, 0).astype(np.float32)
    order = np.argsort(~kept.any(axis=(1, 2)), kind="stable")
    stored = scheme.stored(kept != 0, layer, 4)
    packed = columns.pack(kept, stored.block, order.tolist())
    assert stored.num_bytes == packed.stored_bytes


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 9, 62, 63]))
def test_connectivity_is_stored_as_kernels_where_they_fit(seed: int, taps: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((6, 5, taps)).astype(np.float32)
    scheme, layer = parse_scheme("connectivity"), conv(weight.shape)
    kept = np.where(scheme.mask(weight, layer, 0.3), weight, 0).astype(np.float32)
    stored = scheme.stored(kept != 0, layer, 4)
    found = fkw.detect(kept)
    if isinstance(found, fkw.PatternScheme):
        packed = fkw.reorder(fkw.pack(kept, found.patterns))
        assert stored == (0, packed.stored_bytes)
    else:
        assert taps == 63
        assert stored == (1, columns.pack(kept, 1).stored_bytes)


@pytest.mark.parametrize("name", ["column", "block-punched", "kgs"])
@given(
    seed=st.integers(0, 2**32 - 1),
    block=st.sampled_from([4, 8, 16]),
    density=st.sampled_from([0.05, 0.125, 0.25, 0.5]),
    shuffled=st.booleans(),
)
def test_the_block_is_found_from_the_zeros(
    name: str, *, seed: int, block: int, density: float, shuffled: bool
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((4 * block, 8, 9)).astype(np.float32)
    text = f"{name}:{block}x2" if name == "kgs" else f"{name}:{block}"
    mask = parse_scheme(text).mask(weight, conv(weight.shape), density)
    order = rng.permutation(len(weight)) if shuffled else np.arange(len(weight))
    kept = np.where(mask, weight, 0).astype(np.float32)[order]
    found = columns.detect(kept, columns_cost)
    assert found.block >= block
    packed = columns.pack(kept, found.block, found.reorder)
    assert np.array_equal(columns.unpack(packed, kept.shape), kept)
