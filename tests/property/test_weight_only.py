"""Linear and recurrent kernels with quantized weights, against float64 in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.codegen.host import host_features
from edgec.dialects.sq import Step
from edgec.errors import InvalidInput
from edgec.kernels.layout import plain
from edgec.kernels.linear.weight_only import (
    CodeLinear,
    code_bits,
    dense_block,
    pack_scales,
    pack_weight,
)
from edgec.target import Target
from tests.effort import examples
from tests.lanes import program, run_both, runnable_targets
from tests.property.test_codes import VALUES, draw_weight

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)
TOLERANCE = 2e-6
"""Of a sum, relative to the sum of its absolute values."""


@dataclass(frozen=True)
class Layer:
    """What a case is about."""

    kind: str
    rows: int
    outputs: int
    inputs: int
    group: int | None
    block: int
    density: float
    bias: bool
    residual: bool
    corner: bool
    seed: int


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    group = draw(st.sampled_from([None, None, 4, 8, 32, 48]))
    inputs = st.integers(1, 70) if group is None else st.integers(1, 4)
    return Layer(
        draw(st.sampled_from(list(VALUES))),
        draw(st.integers(1, 8)),
        draw(st.integers(1, 150)),
        draw(inputs) * (group or 1),
        group,
        draw(st.sampled_from([4, 8, 16, 32])),
        draw(st.sampled_from([0.0, 0.1, 1.0])),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.integers(0, 2**16)),
    )


@targets
@examples(15)
@given(layer=layers())
def test_weight_only_linear(target: Target, layer: Layer) -> None:
    rng = np.random.default_rng(layer.seed)
    shape = (layer.outputs, layer.inputs)
    weight = draw_weight(layer.kind, shape, layer.density, layer.block, rng)
    x = rng.standard_normal((layer.rows, layer.inputs)).astype(np.float32)
    if layer.corner:
        x[:], weight[:] = (
            1e6,
            rng.choice([-1, 1], (layer.outputs, 1)) * max(VALUES[layer.kind]),
        )
    groups = 1 if layer.group is None else layer.inputs // layer.group
    scale = rng.uniform(1e-3, 1, (layer.outputs, groups)).astype(np.float32)
    bias = rng.standard_normal(layer.outputs).astype(np.float32)
    side = rng.standard_normal((layer.rows, layer.outputs)).astype(np.float32)

    dense = dense_block(target.lanes, layer.rows, layer.outputs)
    codes = pack_weight(weight, dense, layer.group)
    sizes = plain(x.shape), plain(side.shape)
    steps = (Step("add", (), 0, False),) if layer.residual else ()
    extras = (plain(side.shape),) if layer.residual else ()
    spec = CodeLinear(*sizes, codes.shape, groups, layer.bias, steps, extras)
    buffers = [x.reshape(-1), *(codes.arrays[name] for name in codes.shape.buffers())]
    buffers.append(pack_scales(scale, codes.shape.block))
    buffers += [bias] * layer.bias + [side.reshape(-1)] * layer.residual
    module = program(spec.build("kernel", target.lanes), len(buffers))
    ((found,), (interpreted,)) = run_both(module, buffers, target)

    real = weight * np.repeat(scale.astype(np.float64), layer.inputs // groups, axis=1)
    wanted = x.astype(np.float64) @ real.T
    bound = np.abs(x.astype(np.float64)) @ np.abs(real.T) + 1
    wanted = wanted + bias * layer.bias + side * layer.residual
    for result in (found, interpreted):
        error = np.abs(result.reshape(wanted.shape) - wanted)
        assert (error <= TOLERANCE * (bound + np.abs(wanted) + 4)).all()


@given(
    inputs=st.integers(1, 12), seed=st.integers(0, 99), kind=st.sampled_from(("int2",))
)
def test_only_what_is_there_is_read(inputs: int, seed: int, kind: str) -> None:
    """Inputs are no multiple of a step's; an infinity after the row shows a read."""
    rng, target = np.random.default_rng(seed), machines[0]
    weight = rng.choice(np.array(VALUES[kind], np.int8), (5, inputs))
    codes = pack_weight(weight, target.lanes)
    row = plain((1, inputs), slack=64)
    spec = CodeLinear(row, plain((1, 5)), codes.shape, 1, has_bias=False)
    x = np.full(row.elements, np.inf, np.float32)
    x[:inputs] = 1
    buffers = [x, *(codes.arrays[name] for name in codes.shape.buffers())]
    buffers.append(pack_scales(np.ones((5, 1), np.float32), codes.shape.block))
    module = program(spec.build("kernel", target.lanes), len(buffers))
    ((found,), (interpreted,)) = run_both(module, buffers, target)
    np.testing.assert_array_equal(found, weight.sum(1, dtype=np.int64))
    np.testing.assert_array_equal(interpreted, found)


def test_bits_of_groups() -> None:
    ternary = np.array([[-1, 0, 1, 0] * 4], np.int8)
    assert code_bits(ternary, None) == 2
    assert [code_bits(ternary, group) for group in (4, 8, 16)] == [8, 4, 2]
    with pytest.raises(InvalidInput, match="a multiple of 4 inputs, got 6"):
        code_bits(ternary, 6)


def packed(rows: int, weight: npt.NDArray[np.int8]) -> bool:
    return pack_weight(weight, rows).shape.is_sparse


def test_zeros_are_left_out_where_that_is_smaller() -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-8, 8, (64, 64)).astype(np.int8)
    assert not packed(16, weight)
    keep = rng.random((4, 64)).argsort(1) < 6
    assert packed(64, weight * keep.repeat(16, 0))
