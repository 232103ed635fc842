"""Kernels between float32 and pairs, and pooling of pairs: exact, or rounded once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.codegen.host import host_features
from edgec.dialects import bf16
from edgec.dialects.bf16 import PAIR
from edgec.errors import InvalidInput
from edgec.kernels.layout import SLACK, Layout, plain
from edgec.kernels.pairs import FromPairs, ToPairs
from edgec.kernels.pool_pairs import PoolPairs
from edgec.target import Target
from tests.convs import put, rooms, spaced
from tests.effort import examples
from tests.lanes import program, run_both, runnable_targets
from tests.pair_convs import in_pairs, numbers_in, pairs_in

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)

tensors = st.tuples(
    st.integers(1, 3), st.integers(1, 7), st.integers(1, 5), st.integers(1, 37)
)
volumes = st.tuples(
    st.integers(1, 2), st.integers(1, 5), *(st.integers(1, 4) for _ in range(3))
)


@st.composite
def places_of(draw: st.DrawFn) -> tuple[Layout, Layout]:
    """A tensor of numbers, plain or with gaps, and its pairs, with gaps or not."""
    shape = draw(tensors | volumes)
    found: list[Layout] = []
    for each in (shape, in_pairs(shape)):
        if draw(st.booleans()):
            found.append(plain(each, SLACK))
        else:
            pitch = each[-1] + draw(st.integers(0, 3))
            found.append(spaced(each, pitch, draw(rooms)))
    return found[0], found[1]


@targets
@examples(8)
@given(places=places_of(), seed=st.integers(0, 2**16))
def test_there_and_back(
    target: Target, places: tuple[Layout, Layout], seed: int
) -> None:
    numbers, pairs = places
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(numbers.shape) * 100).astype(np.float32)
    x.reshape(-1)[:3] = np.array([np.inf, 1 + 2.0**-8, -0.0], np.float32)[: x.size]
    rounded = bf16.rounded(x)
    cases = (
        (ToPairs(numbers, pairs), put(numbers, x), pairs_in(pairs, rounded), pairs),
        (FromPairs(pairs, numbers), pairs_in(pairs, x), put(numbers, rounded), numbers),
    )
    for spec, given_, wanted, result in cases:
        module = program(spec.build("kernel", target.lanes), 1)
        own = result.elements - result.slack
        for (buffer,) in run_both(module, [given_], target):
            np.testing.assert_array_equal(buffer[:own], wanted[:own])


@targets
@examples(8)
@given(
    shape=tensors | volumes,
    window=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(0, 1)),
    kind=st.sampled_from(["max", "avg"]),
    seed=st.integers(0, 2**16),
)
def test_pool(
    target: Target,
    shape: tuple[int, ...],
    window: tuple[int, int, int],
    kind: str,
    seed: int,
) -> None:
    size, step, padding = window
    padding = min(padding, size // 2)
    axes = len(shape) - 2
    shape = (*shape[:2], *(max(each, size) for each in shape[2:]))
    out = tuple((each + 2 * padding - size) // step + 1 for each in shape[2:])
    rng = np.random.default_rng(seed)
    x = bf16.rounded(rng.standard_normal(shape))
    source = plain(in_pairs(shape), SLACK)
    result = plain(in_pairs((*shape[:2], *out)), SLACK)
    spec = PoolPairs(
        "max" if kind == "max" else "avg",
        source,
        result,
        kernel=(size,) * axes,
        stride=(step,) * axes,
        padding=(padding,) * axes,
        dilation=(1,) * axes,
    )
    module = program(spec.build("kernel", target.lanes), 1)
    fill = -np.inf if kind == "max" else 0.0
    wide = np.pad(
        x.astype(np.float64),
        [(0, 0), (0, 0), *[(padding, padding)] * axes],
        constant_values=fill,
    )
    seen = np.lib.stride_tricks.sliding_window_view(
        wide, (size,) * axes, axis=tuple(range(2, 2 + axes))
    )[(slice(None), slice(None), *[slice(None, None, step)] * axes)]
    over = tuple(range(-axes, 0))
    wanted = seen.max(over) if kind == "max" else seen.mean(over)
    # Sums of at most 27 numbers of about 1, then one rounding to 8 bits.
    off = 0.0 if kind == "max" else 2.0**-8 * np.abs(wanted) + 2.0**-18
    for (buffer,) in run_both(module, [pairs_in(source, x)], target):
        found = numbers_in(result, buffer, shape[1], packed=True)
        assert (np.abs(found - wanted) <= off).all()
        if shape[1] % PAIR:
            whole = numbers_in(result, buffer, shape[1] + 1, packed=True)
            assert not whole[:, -1].any(), "a channel that does not exist is zero"


def test_pairs_of_another_tensor() -> None:
    with pytest.raises(InvalidInput, match=r"pairs of .* must have the shape"):
        FromPairs(plain((1, 3, 3, 3)), plain((1, 7, 3, 3)))
    place = Layout((1, 1, 4, 4), (16, 16, 2, 1), phase=(2, 2))
    with pytest.raises(InvalidInput, match="phases"):
        PoolPairs("max", place, place, (1, 1), (1, 1), (0, 0), (1, 1))
