"""Concatenations and slices of channels of quads: exact against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import TensorType
from xdsl.ir import Block

from edgec.codegen.host import host_features
from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.dialects.lane import QUAD
from edgec.errors import PassFailed
from edgec.kernels.channel_quads import ChannelQuads, runs_of
from edgec.kernels.layout import SLACK, Layout, plain
from edgec.kernels.lowering import lower
from edgec.target import Target
from tests.convs import rooms, spaced
from tests.effort import examples
from tests.lanes import program, run_both, runnable_targets
from tests.quad_convs import check, quads_in

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)


@targets
@examples(12)
@given(data=st.data(), zero=st.sampled_from([0, 7, 255]), seed=st.integers(0, 999))
def test_exact(target: Target, data: st.DataObject, zero: int, seed: int) -> None:
    counts = data.draw(st.lists(st.integers(1, 13), min_size=1, max_size=4))
    size = (*data.draw(st.sampled_from([(), (), (2,)])), data.draw(st.integers(1, 4)))
    size = (*size, data.draw(st.integers(1, 40)))
    images = data.draw(st.integers(1, 2))

    def layout(channels: int) -> Layout:
        shape = (images, -(-channels // QUAD), *size)
        if data.draw(st.booleans()):
            return plain(shape, SLACK)
        return spaced(shape, size[-1] + data.draw(st.integers(0, 3)), data.draw(rooms))

    every = [(k, c) for k, count in enumerate(counts) for c in range(count)]
    first = data.draw(st.integers(0, len(every) - 1))
    channels = every[first : data.draw(st.integers(first + 1, len(every)))]
    groups = data.draw(st.sampled_from([1, 1, 2, 3]))
    channels = [channel for j in range(groups) for channel in channels[j::groups]]
    sources = tuple(layout(count) for count in counts)
    result = layout(len(channels))
    spec = ChannelQuads(sources, result, tuple(channels), zero)
    rng = np.random.default_rng(seed)
    arrays = [
        rng.integers(0, 256, (images, count, *size)).astype(np.uint8)
        for count in counts
    ]
    whole = np.stack([arrays[k][:, c] for k, c in channels], 1)
    wanted = quads_in(result, whole, zero)
    module = program(spec.build("kernel", target.lanes), len(sources))
    packed = [quads_in(*pair, zero) for pair in zip(sources, arrays, strict=True)]
    for (found,) in run_both(module, packed, target):
        check(result, zero, len(channels), found, wanted)


def test_runs() -> None:
    """A part between two quads is one loop, and so is one that starts with a quad."""
    channels = [(0, c) for c in range(9)] + [(1, c) for c in range(20)]
    runs = runs_of(channels)
    assert [(run.begin, run.count, run.is_copy, run.step) for run in runs] == [
        (0, 2, True, 1),
        (2, 1, False, 1),
        (3, 4, False, 1),
        (7, 1, False, 1),
    ]
    assert runs[2].sources == ((1, 3), (1, 4), (1, 5), (1, 6))
    assert runs[3].sources == ((1, 19), None, None, None)


@pytest.mark.parametrize("size", [16, 58])
@pytest.mark.parametrize("groups", [2, 3, 4, 8])
def test_a_shuffle_is_few_runs(size: int, groups: int) -> None:
    """A loop for each group, and one for the last quad if it is not whole."""
    channels = [(0, j * size + i) for i in range(size) for j in range(groups)]
    runs = runs_of(channels)
    quads = [run.begin + k * run.step for run in runs for k in range(run.count)]
    assert sorted(quads) == list(range(-(-len(channels) // QUAD)))
    assert len(runs) <= groups + (len(channels) % QUAD > 0)


@pytest.mark.parametrize(
    ("low", "value"), [((0, 2, 0, 0), 0.0), ((0, 0, 1, 0), 0.3)], ids=str
)
def test_pads_that_are_no_quads_of_bytes(low: tuple[int, ...], value: float) -> None:
    type_ = sq.QuantType.per_tensor("ui8", 0, 255, 0.5, 3)
    (x,) = Block(arg_types=[TensorType(type_, (1, 4, 2, 2))]).args
    op = nn.PadOp("constant", x, low, (0, 0, 0, 0), value)
    with pytest.raises(PassFailed, match="must add whole quads of a byte of"):
        lower(op, WeightStore(), 8)
