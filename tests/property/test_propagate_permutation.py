"""Channels in other orders: same numbers, same weights, and honest counts."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import numpy.typing as npt
from hypothesis import assume, given
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, TensorType, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import SSAValue

from edgec.context import EdgecContext
from edgec.dialects import columns, fkw, nn, sq
from edgec.interpreter.arrays import AnyArray
from edgec.passes.analysis.channel_orders import ChannelOrders, free_linear
from edgec.passes.analysis.channels import analyse
from edgec.passes.constants import read_constant
from edgec.passes.filter_kernel_reorder import FilterKernelReorder
from edgec.passes.fold_batch_norm import FoldBatchNorm
from edgec.passes.propagate_permutation import PropagatePermutation, permute
from edgec.testing import Case, assert_pass_preserves, nn_modules
from tests.effort import examples

Floats = npt.NDArray[np.float32]
Layer = nn.ConvOp | nn.LinearOp

CHAIN = ("conv", "block", "activation", "pool", "affine")
JOINED = (*CHAIN, "residual", "concat", "adaptive_pool", "slice", "pad", "resize")
seeds = st.integers(0, 2**32 - 1)
many = examples(200)
"""In about one module of ten an order can be pushed."""


def punched(weight: Floats, block: int, rng: np.random.Generator) -> Floats:
    """About a third of the columns of each block."""
    matrix = weight.reshape(len(weight), -1)
    blocks = -(-len(matrix) // block)
    keep = (rng.random((blocks, matrix.shape[1])) < 0.35).repeat(block, axis=0)
    return (matrix * keep[: len(matrix)]).reshape(weight.shape)


def stored_in_columns(
    weight: Floats, rng: np.random.Generator
) -> tuple[columns.Columns, sq.ColumnsAttr]:
    """A weight pruned in blocks, its filters in any order."""
    block = int(rng.integers(1, 5))
    order = rng.permutation(len(weight)) if rng.random() < 0.8 else range(len(weight))
    rows = [int(row) for row in order]
    pruned = np.empty_like(weight)
    pruned[rows] = punched(weight, block, rng)
    packed = columns.pack(pruned, block, rows)
    reordered = rows != sorted(rows)
    return packed, sq.ColumnsAttr.of(block, packed.num_columns, reordered=reordered)


def stored_in_patterns(
    weight: Floats, rng: np.random.Generator
) -> tuple[fkw.Fkw, sq.PatternAttr]:
    """Kernels of one weight or of none."""
    positions = math.prod(weight.shape[2:])
    kind = rng.integers(-positions, positions, weight.shape[:2])
    mask = kind[..., None] == np.arange(positions)
    pruned = weight * mask.reshape(weight.shape)
    packed = fkw.pack(pruned, [(position,) for position in range(positions)])
    kept = packed.num_kernels
    return packed, sq.PatternAttr.of(packed.patterns, kept, ordered=False)


def encode(case: Case, share: float, seed: int) -> None:
    """Store weights of layers without groups in either way, shared ones once."""
    rng, ctx = np.random.default_rng(seed), case.ctx
    stored: dict[SSAValue, SSAValue] = {}
    for op in list(case.module.walk()):
        is_grouped = isinstance(op, nn.ConvOp) and op.groups.value.data > 1
        if not isinstance(op, Layer) or is_grouped:
            continue
        weight = read_constant(op.weight, ctx.weights)
        if weight is None or (op.weight not in stored and rng.random() > share):
            continue
        if op.weight not in stored:
            is_flat = weight.ndim == 4 and rng.random() < 0.3
            store = stored_in_patterns if is_flat else stored_in_columns
            packed, encoding = store(weight, rng)
            names = {
                k: ctx.weights.add(f"s.{k}", a) for k, a in packed.arrays().items()
            }
            element = nn.tensor_type(op.weight).element_type
            new = sq.WeightOp(names, TensorType(element, weight.shape, encoding))
            assert isinstance(op.weight.owner, nn.ConstantOp)
            assert op.parent is not None
            op.parent.insert_op_after(new, op.weight.owner)
            stored[op.weight] = new.result
        op.operands[1] = stored[op.weight]
    FilterKernelReorder().run(ctx, case.module)


def hide_channels(case: Case) -> None:
    """Let the caller have linear functions of the results, whose channels are free."""
    rng, ctx = np.random.default_rng(0), case.ctx
    (function,) = case.module.body.block.ops
    assert isinstance(function, FuncOp)
    last = function.body.block.last_op
    assert isinstance(last, ReturnOp)
    for number, value in enumerate(last.operands):
        rank, channels = len(nn.shape_of(value)) - 2, nn.shape_of(value)[1]
        ones, zeros = [1] * rank, [0] * rank
        weight = rng.standard_normal((2, channels, *ones), np.float32)
        name = ctx.weights.add("last", weight)
        constant = nn.ConstantOp(name, TensorType(f32, weight.shape))
        if rank:
            layer = nn.ConvOp(
                value,
                constant.result,
                stride=ones,
                padding_low=zeros,
                padding_high=zeros,
                dilation=ones,
                groups=1,
            )
        else:
            layer = nn.LinearOp(value, constant.result)
        function.body.block.insert_ops_before([constant, layer], last)
        last.operands[number] = layer.result
    function.update_function_type()


@st.composite
def stored_modules(draw: st.DrawFn, steps: tuple[str, ...] | None = None) -> Case:
    """Modules whose batch norms are folded, with encoded weights in any order."""
    ranks = (1, 2, 3)
    case = draw(
        nn_modules(max_steps=9, spatial_ranks=ranks)
        if steps is None
        else nn_modules(steps=steps, max_steps=9, spatial_ranks=ranks)
    )
    FoldBatchNorm().run(case.ctx, case.module)
    (*_, last) = case.module.walk()
    ranks_left = [len(nn.shape_of(value)) for value in last.operands]
    if min(ranks_left) > 1 and draw(st.integers(0, 3)):
        hide_channels(case)
    encode(case, draw(st.sampled_from([0.4, 1.0])), draw(seeds))
    return case


def layers(module: ModuleOp) -> list[Layer]:
    return [op for op in module.walk() if isinstance(op, Layer)]


def arrays(op: sq.WeightOp, ctx: EdgecContext) -> dict[str, AnyArray]:
    return {key: ctx.weights[name] for key, name in op.resource_names().items()}


def count_left(module: ModuleOp, ctx: EdgecContext) -> int:
    """Layers with rows in another order; what an encoding says of that is true."""
    left = 0
    for op in layers(module):
        if isinstance(op.weight.owner, sq.WeightOp):
            rows = arrays(op.weight.owner, ctx)["reorder"].tolist()
            is_left = rows != sorted(rows)
            encoding = op.weight.owner.encoding
            if isinstance(encoding, sq.ColumnsAttr):
                assert encoding.is_reordered == is_left
            left += is_left
    return left


def numbers_of(module: ModuleOp, ctx: EdgecContext) -> list[Counter[float]]:
    """The weights of each layer, whatever their places."""
    found = [read_constant(op.weight, ctx.weights) for op in layers(module)]
    return [Counter(a.reshape(-1).tolist()) for a in found if a is not None]


def check(case: Case) -> None:
    before = numbers_of(case.module, case.ctx)
    pass_ = PropagatePermutation()
    result = assert_pass_preserves(pass_, *case, rtol=2e-5, idempotent=True)
    assert numbers_of(result.module, case.ctx) == before
    left = count_left(result.module, case.ctx)
    assert result.statistics["permutations_left"] == left
    again = pass_.run(case.ctx, result.module.clone())
    assert again["permutations_left"] == left
    assert again["permutations_pushed"] == again["weights_permuted"] == 0


@given(stored_modules())
def test_all_kinds_of_ops(case: Case) -> None:
    check(case)


@many
@given(stored_modules(CHAIN))
def test_chains(case: Case) -> None:
    check(case)


@many
@given(stored_modules(JOINED))
def test_sums_concatenations_and_slices(case: Case) -> None:
    check(case)


@many
@given(stored_modules((*JOINED, "flatten", "linear", "reduce")))
def test_flattened_channels(case: Case) -> None:
    check(case)


@given(stored_modules(("linear", "activation", "residual", "concat")), seeds)
def test_free_linear_layers_can_have_any_order(case: Case, seed: int) -> None:
    free = free_linear(case.module)
    assume(free)
    rng = np.random.default_rng(seed)
    channels = analyse(case.module, (nn.ConstantOp, sq.WeightOp))
    orders = ChannelOrders(case.module, channels)
    for op in layers(case.module):
        if op in free:
            order = rng.permutation(nn.shape_of(op.weight)[0])
            assert orders.settle(op.result, order)
            assert np.array_equal(orders.of(op.result), order)


@st.composite
def weights(draw: st.DrawFn) -> tuple[Floats, np.random.Generator]:
    """`[F, C, *K]`, and numbers to go on with."""
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 6)), draw(st.integers(1, 3)))
    rng = np.random.default_rng(draw(seeds))
    return rng.standard_normal(shape, np.float32), rng


@given(weights(), st.booleans())
def test_a_storage_moves_as_its_weight(
    drawn: tuple[Floats, np.random.Generator], is_fkw: bool
) -> None:
    weight, rng = drawn
    filters, channels = map(rng.permutation, weight.shape[:2])
    if is_fkw:
        packed, _ = stored_in_patterns(weight, rng)
        for storage in (packed, fkw.reorder(packed)):
            dense = fkw.unpack(storage, weight.shape)
            moved = permute(storage, filters, channels, weight.shape[2])
            assert isinstance(moved, fkw.Fkw)
            found = fkw.unpack(moved, weight.shape)
            assert np.array_equal(found, dense[filters][:, channels])
            assert moved.is_ordered == storage.is_ordered
            rows = np.repeat(np.arange(len(filters)), np.diff(moved.offset))
            kinds = moved.pattern if moved.is_ordered else np.zeros_like(rows)
            kernels = list(zip(rows, kinds, moved.index, strict=True))
            assert kernels == sorted(kernels)
    else:
        packed, _ = stored_in_columns(weight, rng)
        dense = columns.unpack(packed, weight.shape)
        moved = permute(packed, filters, channels, weight.shape[2])
        assert isinstance(moved, columns.Columns)
        wanted = dense[filters][:, channels]
        assert np.array_equal(columns.unpack(moved, weight.shape), wanted)
        again = columns.pack(wanted, moved.block, moved.reorder.tolist())
        for key, array in again.arrays().items():
            assert np.array_equal(array, moved.arrays()[key]), key


@given(weights(), st.integers(1, 4))
def test_blocks_of_neighbours_are_straightened(
    drawn: tuple[Floats, np.random.Generator], block: int
) -> None:
    """Whole blocks in any order, filters of each in any order; a short one is last."""
    weight, rng = drawn
    whole = len(weight) // block
    parts = [*rng.permutation(whole), *([whole] if len(weight) % block else [])]
    groups = [np.arange(len(weight))[p * block : (p + 1) * block] for p in parts]
    order = np.concatenate([rng.permutation(group) for group in groups]).tolist()
    found = columns.straighten(columns.pack(punched(weight, block, rng), block, order))
    assert found.reorder.tolist() == list(range(len(weight)))


@given(weights(), st.integers(2, 4))
def test_other_blocks_stay(
    drawn: tuple[Floats, np.random.Generator], block: int
) -> None:
    weight, rng = drawn
    packed = columns.pack(weight, block, rng.permutation(len(weight)).tolist())
    found = columns.straighten(packed)
    starts = range(0, len(weight), block)
    sets = [set(packed.reorder[i : i + block].tolist()) for i in starts]
    neighbours = [set(range(i, min(i + block, len(weight)))) for i in starts]
    can = sorted(map(min, sets)) == list(starts) and all(s in sets for s in neighbours)
    can = can and sets[-1] == neighbours[-1] if len(weight) % block else can
    assert (found is not packed) == can
    assert np.array_equal(columns.unpack(found, weight.shape), weight)
