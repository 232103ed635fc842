"""Encoding and reordering pruned weights: same numbers, honest counts."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

from edgec.context import EdgecContext
from edgec.dialects import columns, fkw, nn, sq
from edgec.errors import InvalidInput
from edgec.passes.encode_sparsity import EncodeSparsity, assess
from edgec.passes.filter_kernel_reorder import (
    FilterKernelReorder,
    count_moves,
    count_runs,
)
from edgec.testing import Case, assert_pass_preserves, nn_modules

PATTERNS = np.array([[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]])


def prune(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keep about a third of the kernels, and up to half of the positions in each."""
    filters, channels, *spatial = weight.shape
    positions = int(np.prod(spatial))
    mask = np.zeros((filters, channels, positions), np.float32)
    for kernel in mask.reshape(-1, positions):
        if rng.random() < 0.3:
            kernel[PATTERNS[rng.integers(4)] % positions] = 1
    return weight * mask.reshape(weight.shape)


@st.composite
def pruned_modules(draw: st.DrawFn) -> Case:
    """Modules of convolutions, each pruned to patterns or left dense."""
    case = draw(nn_modules(steps=("conv", "block", "linear"), max_steps=5))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    for name, weight in list(case.ctx.weights.items()):
        if weight.ndim == 4 and rng.random() < 0.8:
            case.ctx.weights.discard(name)
            case.ctx.weights.add(name, prune(np.asarray(weight), rng))
    return case


def layers(module: ModuleOp) -> list[nn.ConvOp | nn.LinearOp]:
    return [op for op in module.walk() if isinstance(op, nn.ConvOp | nn.LinearOp)]


def weights(module: ModuleOp) -> list[sq.WeightOp]:
    return [op for op in module.walk() if isinstance(op, sq.WeightOp)]


def storage(op: sq.WeightOp, ctx: EdgecContext) -> fkw.Fkw | columns.Columns:
    encoding = op.encoding
    assert isinstance(encoding, sq.PatternAttr | sq.ColumnsAttr)
    arrays = {key: ctx.weights[name] for key, name in op.resource_names().items()}
    return encoding.storage(arrays)


def patterns(module: ModuleOp, ctx: EdgecContext) -> list[fkw.Fkw]:
    stored = [storage(op, ctx) for op in weights(module)]
    return [one for one in stored if isinstance(one, fkw.Fkw)]


@given(pruned_modules(), st.sampled_from([0.3, 0.7, 1.0]))
def test_encoding_preserves(case: Case, max_density: float) -> None:
    encode = EncodeSparsity(max_density=max_density)
    result = assert_pass_preserves(encode, *case, rtol=0, idempotent=True)
    counts, found = result.statistics, weights(result.module)
    stored = [storage(op, case.ctx) for op in found]
    dense = [4 * int(np.prod(nn.shape_of(op.result))) for op in found]
    assert counts["layers_encoded"] == len(found)
    assert counts["layers_dense"] == len(layers(case.module)) - len(found)
    kernels = [one.num_kernels for one in stored if isinstance(one, fkw.Fkw)]
    assert counts["kernels_kept"] == sum(kernels)
    kept = [one.num_columns for one in stored if isinstance(one, columns.Columns)]
    assert counts["columns_kept"] == sum(kept)
    assert counts["bytes_before"] == sum(dense)
    assert counts["bytes_after"] == sum(one.stored_bytes for one in stored)
    for op in layers(result.module):
        is_encoded = isinstance(op.weight.owner, sq.WeightOp)
        scheme = str(op.attributes["sq.why"]).partition(":")[0]
        assert (scheme != '"dense') == is_encoded
        groups = op.groups.value.data if isinstance(op, nn.ConvOp) else 1
        is_depthwise = groups > 1 and nn.shape_of(op.weight)[1] == 1
        assert not (is_encoded and is_depthwise)
        if is_encoded and groups > 1:
            encoding = nn.tensor_type(op.weight).encoding
            assert isinstance(encoding, sq.ColumnsAttr)
            assert encoding.num_groups == groups


@given(pruned_modules())
def test_reordering_preserves(case: Case) -> None:
    EncodeSparsity().run(case.ctx, case.module)
    before = patterns(case.module, case.ctx)
    result = assert_pass_preserves(
        FilterKernelReorder(), *case, rtol=0, idempotent=True
    )
    after = patterns(result.module, case.ctx)
    counts = result.statistics
    assert all(one.is_ordered for one in after)
    assert counts["runs_before"] == sum(map(runs, before))
    assert counts["runs_after"] == sum(map(runs, after)) <= counts["runs_before"]
    assert counts["filters_moved"] == sum(
        int((a.reorder != b.reorder).sum()) for a, b in zip(before, after, strict=True)
    )


def runs(one: fkw.Fkw) -> int:
    """The slow way: walk each row."""
    rows = zip(one.offset[:-1], one.offset[1:], strict=True)
    return sum(len(list(groupby(one.pattern[a:b].tolist()))) for a, b in rows)


@given(st.integers(0, 99), st.integers(1, 6), st.integers(1, 6))
def test_counts_of_one_weight(seed: int, filters: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    weight = prune(np.ones((filters, channels, 3, 3), np.float32), rng)
    packed = fkw.pack(weight, [tuple(p) for p in PATTERNS.tolist()])
    ordered = fkw.reorder(packed)
    assert (count_runs(packed), count_runs(ordered)) == (runs(packed), runs(ordered))
    assert count_moves(packed, packed) == (0, 0)
    moved = count_moves(packed, ordered)
    assert moved == count_moves(ordered, packed)
    assert max(moved[0] - filters, moved[1] - packed.num_kernels) <= 0


@given(st.integers(0, 99), st.sampled_from([0.1, 0.5, 1.0]))
def test_nothing_above_the_threshold_is_stored(seed: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    scheme = assess(prune(np.ones((4, 4, 3, 3), np.float32), rng), limit)
    assert isinstance(scheme, fkw.Dense) or scheme.density <= limit


@pytest.mark.parametrize("limit", [-0.1, 1.5])
def test_a_density_is_a_share(limit: float) -> None:
    with pytest.raises(InvalidInput, match=r"max_density must be in 0\.\.1, got"):
        EncodeSparsity(max_density=limit).run(EdgecContext(), ModuleOp([]))
