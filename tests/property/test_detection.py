"""Detection is a left inverse of projection: what a scheme pruned comes back whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.compress.geometry import Floats, Geometry
from edgec.compress.parsing import parse_scheme
from edgec.dialects import columns, fkw
from edgec.passes.encode_sparsity import assess, columns_cost, cost
from tests.effort import examples

GEOMETRIES = {
    "plain": Geometry("convolution", 32, 6, (3, 3)),
    "odd": Geometry("convolution", 13, 5, (3, 3)),
    "pointwise": Geometry("convolution", 24, 40, (1, 1)),
    "large": Geometry("convolution", 16, 3, (5, 7)),
    "line": Geometry("convolution", 16, 9, (1, 5)),
    "volume": Geometry("convolution", 16, 8, (3, 3, 3)),
    "grouped": Geometry("convolution", 32, 4, (3, 3), groups=2),
    "grouped odd": Geometry("convolution", 30, 4, (1, 1), groups=3),
    "linear": Geometry("linear", 48, 30),
}
SCHEMES = {
    "pattern": 0,
    "connectivity": 0,
    "unstructured": 1,
    "2:4": 1,
    "block-punched:8": 8,
    "block-punched:4x2": 4,
    "kgs:8x4": 8,
    "column:8": 8,
    "column:4": 4,
    "bcr:8x16": 8,
    "bsp:4x10": 4,
    "filter": 1,
    "channel": 16,
}
"""Filters of a block; 0 for kernels."""
PAIRS = [
    (scheme, name)
    for scheme in SCHEMES
    for name, layer in GEOMETRIES.items()
    if not parse_scheme(scheme).why_not(layer)
]


def projected(
    scheme: str, layer: Geometry, density: float, rng: np.random.Generator
) -> Floats:
    """A random weight after the projection, of the shape that the compiler sees."""
    weight = rng.standard_normal(layer.shape).astype(np.float32)
    mask = parse_scheme(scheme).mask(weight, layer, density)
    kept = np.where(mask, weight, np.float32(0))
    return kept.reshape(layer.filters, layer.channels, *layer.window)


def shuffled(layer: Geometry, rng: np.random.Generator) -> list[int]:
    """An order of the filters that leaves each in its group."""
    each = layer.filters // layer.groups
    parts = (rng.permutation(each) + g * each for g in range(layer.groups))
    return [int(n) for part in parts for n in part]


@pytest.mark.parametrize(("scheme", "name"), PAIRS)
@examples(6)
@given(
    seed=st.integers(0, 2**32 - 1),
    density=st.sampled_from([0.02, 0.125, 0.3, 0.5]),
    permuted=st.booleans(),
)
def test_what_was_pruned_is_found_whole(
    scheme: str, name: str, *, seed: int, density: float, permuted: bool
) -> None:
    layer, rng = GEOMETRIES[name], np.random.default_rng(seed)
    plain = projected(scheme, layer, density, rng)
    weight = plain[shuffled(layer, rng)] if permuted else plain
    # Rows that the last block of a group lacks count too: more than all may be stored.
    found = assess(weight, 2.0, layer.groups)
    assert not isinstance(found, fkw.Dense)
    if isinstance(found, fkw.PatternScheme):
        back = fkw.unpack(fkw.pack(weight, found.patterns), weight.shape)
    else:
        packed = columns.pack(weight, found.block, found.reorder, layer.groups)
        back = columns.unpack(packed, weight.shape)
        assert packed.weight.size == found.stored
    np.testing.assert_array_equal(back, weight)
    # Nothing found costs more than storage in the blocks that the scheme has.
    block, each = SCHEMES[scheme], layer.filters // layer.groups
    if block == 0:
        kernels = fkw.detect(plain)
        # Kernels of one position are columns.
        is_window = plain.ndim == 4 and math.prod(plain.shape[2:]) > 1
        has_kernel = is_window and layer.groups == 1
        if isinstance(kernels, fkw.PatternScheme) and has_kernel:
            assert cost(found) <= cost(kernels)
    elif each % block == 0 and scheme != "channel":
        known = columns.scheme_of(plain, block, None, layer.groups)
        if not permuted or known.stored == known.kept:
            assert cost(found) <= columns_cost(known)
