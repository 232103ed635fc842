"""Linear layers of bfloat16 against sums in float64 of rounded operands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.codegen.host import host_features
from edgec.dialects import bf16
from edgec.dialects.bf16 import PAIR
from edgec.dialects.sq import Step
from edgec.kernels.conv.pairs import as_pairs
from edgec.kernels.layout import SLACK, plain
from edgec.kernels.linear.dense import Linear, linear_block, pack_linear
from edgec.kernels.pairs import RowsToPairs
from edgec.target import Target
from tests.convs import Array
from tests.effort import examples
from tests.lanes import program, run_both, runnable_targets
from tests.pair_convs import HALF, SUM

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)


@dataclass(frozen=True)
class Layer:
    """A linear layer, and what ends it: `rows` and `columns` are extra operands."""

    rows: int
    inputs: int
    outputs: int
    packed: bool
    has_bias: bool
    end: str
    seed: int


layers = st.builds(
    Layer,
    rows=st.integers(1, 30),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 150),
    packed=st.booleans(),
    has_bias=st.booleans(),
    end=st.sampled_from(["", "relu", "rows", "columns"]),
    seed=st.integers(0, 2**16),
)


@targets
@examples(10)
@given(layer=layers)
def test_linear(target: Target, layer: Layer) -> None:
    rng, lanes = np.random.default_rng(layer.seed), target.lanes
    outputs = layer.outputs + layer.packed * layer.outputs % PAIR
    x = bf16.rounded(rng.standard_normal((layer.rows, layer.inputs)))
    w = rng.standard_normal((outputs, layer.inputs)).astype(np.float32)
    bias = rng.standard_normal(outputs).astype(np.float32) * layer.has_bias
    size = {"rows": (layer.rows, outputs), "columns": (outputs,)}.get(layer.end)
    extra = rng.standard_normal(size or (1,)).astype(np.float32)
    steps = {"": (), "relu": (Step("relu", (), -1, False),)}
    stored = outputs // PAIR if layer.packed else outputs
    block = linear_block(lanes, layer.rows, outputs)
    spec = Linear(
        plain((layer.rows, -(-layer.inputs // PAIR))),
        plain((layer.rows, stored)),
        layer.has_bias,
        steps.get(layer.end, (Step("sub", (), 0, False),)),
        (plain(size),) if size else (),
        block,
        reads_pairs=True,
        writes_pairs=layer.packed,
    )
    buffers: list[Array] = [as_pairs(x, layer.rows).reshape(-1)]
    buffers.append(pack_linear(as_pairs(w, outputs), lanes, block.vectors))
    buffers += [bias] * layer.has_bias + [extra.reshape(-1)] * bool(size)
    module = program(spec.build("kernel", lanes), len(buffers))
    wide, weight = x.astype(np.float64), bf16.rounded(w).astype(np.float64).T
    wanted, terms = wide @ weight + bias, np.abs(wide) @ np.abs(weight) + np.abs(bias)
    if layer.end == "relu":
        wanted = np.maximum(wanted, 0)
    elif size:
        wanted, terms = wanted - extra, terms + np.abs(extra)
    off = SUM * (layer.inputs + 2) * terms
    off += HALF * (np.abs(wanted) + off) * layer.packed
    for (found,) in run_both(module, buffers, target):
        values = bf16.parts_of(found) if layer.packed else found
        assert (np.abs(values.reshape(wanted.shape) - wanted) <= off).all()


@targets
@examples(10)
@given(rows=st.integers(1, 5), columns=st.integers(1, 150), seed=st.integers(0, 99))
def test_rows_to_pairs(target: Target, rows: int, columns: int, seed: int) -> None:
    """Neighbours share a lane; a number that does not exist is zero."""
    x = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    result = plain((rows, -(-columns // PAIR)), SLACK)
    spec = RowsToPairs(plain((rows, columns)), result)
    module = program(spec.build("kernel", target.lanes), 1)
    for (found,) in run_both(module, [x.reshape(-1)], target):
        pairs = found[: rows * result.shape[1]].reshape(result.shape)
        np.testing.assert_array_equal(pairs, as_pairs(x, rows))
