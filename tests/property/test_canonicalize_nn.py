"""Canonicalization: same numbers on random graphs, and on what each pattern matches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from xdsl.builder import Builder
from xdsl.dialects.builtin import ModuleOp, TensorType, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import InsertPoint

from edgec.context import EdgecContext
from edgec.dialects import nn
from edgec.passes.canonicalize_nn import CanonicalizeNn
from edgec.passes.patterns.movement import compose, keeps_order
from edgec.testing import Case, assert_pass_preserves, nn_modules
from tests.effort import examples


@given(nn_modules(max_steps=8, spatial_ranks=(1, 2, 3)))
def test_random_graphs(case: Case) -> None:
    assert_pass_preserves(CanonicalizeNn(), *case, rtol=1e-5, idempotent=True)


ONE_D = ("block", "pool", "activation", "affine", "residual", "batch_norm")


@given(nn_modules(steps=ONE_D, max_steps=8, spatial_ranks=(1,)))
def test_one_dimensional_layers_become_two_dimensional(case: Case) -> None:
    result = assert_pass_preserves(CanonicalizeNn(), *case, rtol=1e-5, idempotent=True)
    for op in result.module.walk():
        if isinstance(op, nn.ConvOp | nn.PoolOp):
            assert len(nn.shape_of(op.result)) == 4


def test_sums_and_products_between_one_dimensional_layers() -> None:
    chain = Chain((1, 2, 4))
    start = chain.value
    weight = chain.constant(2, 2, 1)
    one, zero = (1,), (0,)
    chain.then(
        nn.ConvOp(
            chain.value,
            weight,
            stride=one,
            padding_low=zero,
            padding_high=zero,
            dilation=one,
        )
    )
    chain.then(nn.BinaryOp("mul", chain.constant(2, 1), chain.value))
    chain.then(nn.BinaryOp("sub", chain.value, start))
    chain.then(nn.UnaryOp("relu", chain.value))
    names, _ = run(chain, rtol=1e-6)
    assert [name for name in names if name != "reshape"] == [
        "conv",
        "binary",
        "binary",
        "unary",
    ]
    assert names[-1] == "reshape"


def test_an_operand_of_fewer_dimensions_keeps_its_place() -> None:
    # [4, 1, 1] stands for channels here, not for images.
    chain = Chain((4, 4))
    images = chain.value
    column = chain.then(nn.SliceOp(images, (0, 0), (4, 1), (1, 1)))
    channels = chain.then(nn.ReshapeOp(column, (4, 1, 1)))
    wide = chain.then(nn.ReshapeOp(images, (4, 4, 1, 1)))
    chain.then(nn.BinaryOp("add", wide, channels))
    run(chain)


class Chain:
    """A function that applies ops in a row, with constants in the IR or the store."""

    def __init__(self, shape: Sequence[int], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.ctx = EdgecContext()
        self.function = FuncOp("main", ([TensorType(f32, shape)], ()))
        block = self.function.body.block
        self.builder = Builder(InsertPoint.at_end(block))
        self.value: SSAValue = block.args[0]
        self.input = self.rng.standard_normal(tuple(shape), np.float32)

    def constant(self, *shape: int) -> SSAValue:
        array = self.rng.standard_normal(shape).astype(np.float32)
        name = self.ctx.weights.add(f"w{len(self.ctx.weights)}", array)
        op = self.builder.insert(nn.ConstantOp(name, TensorType(f32, shape)))
        return op.result

    def then(self, op: Operation) -> SSAValue:
        self.value = self.builder.insert(op).results[0]
        return self.value

    def case(self) -> Case:
        self.builder.insert(ReturnOp(self.value))
        self.function.update_function_type()
        return Case(ModuleOp([self.function]), self.ctx, (self.input,))


def ops(module: ModuleOp) -> list[str]:
    names = [op.name for op in module.walk() if op.name.startswith("nn.")]
    return [name.removeprefix("nn.") for name in names if name != "nn.constant"]


def run(chain: Chain, rtol: float = 0) -> tuple[list[str], ModuleOp]:
    result = assert_pass_preserves(
        CanonicalizeNn(), *chain.case(), rtol=rtol, idempotent=True
    )
    return ops(result.module), result.module


def conv(
    chain: Chain,
    filters: int,
    kernel: Sequence[int],
    *,
    stride: Sequence[int] = (1, 1),
    low: Sequence[int] = (0, 0),
    high: Sequence[int] = (0, 0),
) -> None:
    weight = chain.constant(filters, nn.shape_of(chain.value)[1], *kernel)
    chain.then(
        nn.ConvOp(
            chain.value,
            weight,
            stride=stride,
            padding_low=low,
            padding_high=high,
            dilation=(1, 1),
        )
    )


def test_uneven_padding_goes_into_a_conv() -> None:
    chain = Chain((2, 3, 5, 4))
    chain.then(nn.PadOp("constant", chain.value, (0, 0, 2, 0), (0, 0, 1, 3)))
    conv(chain, 4, (3, 2), low=(1, 1), stride=(2, 1))
    names, module = run(chain)
    (op,) = (op for op in module.walk() if isinstance(op, nn.ConvOp))
    assert names == ["conv"]
    assert tuple(op.padding_low.get_values()) == (3, 1)
    assert tuple(op.padding_high.get_values()) == (1, 3)


@pytest.mark.parametrize(
    ("kind", "low", "high", "value"),
    [
        ("constant", (0, 0, 1, 1), (0, 0, 1, 1), 0.5),
        ("constant", (0, 1, 1, 1), (0, 0, 1, 1), 0.0),
        ("constant", (0, 0, -1, 1), (0, 0, 1, 1), 0.0),
        ("reflect", (0, 0, 1, 1), (0, 0, 1, 1), 0.0),
    ],
)
def test_other_pads_stay(
    kind: str, low: Sequence[int], high: Sequence[int], value: float
) -> None:
    chain = Chain((1, 3, 5, 5))
    chain.then(nn.PadOp(kind, chain.value, low, high, value))
    conv(chain, 2, (3, 3))
    assert run(chain)[0] == ["pad", "conv"]


@st.composite
def padded_pools(draw: st.DrawFn) -> Chain:
    """A pad of each kind before a pool with all its options."""
    kind = draw(st.sampled_from(["max", "avg"]))
    chain = Chain((1, 2, draw(st.integers(3, 6)), draw(st.integers(3, 6))))
    low, high = ((0, 0, draw(st.integers(0, 1)), 1) for _ in range(2))
    value = draw(st.sampled_from([0.0, -math.inf] if kind == "max" else [0.0, 1.0]))
    chain.then(nn.PadOp("constant", chain.value, low, high, value))
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    chain.then(
        nn.PoolOp(
            kind,
            chain.value,
            kernel=kernel,
            stride=(draw(st.integers(1, 2)), 1),
            padding=(draw(st.integers(0, kernel[0] // 2)), 0),
            dilation=(1, 1),
            ceil_mode=draw(st.booleans()),
            count_include_pad=draw(st.booleans()),
            divisor=draw(st.sampled_from([0, 3])) if kind == "avg" else 0,
        )
    )
    return chain


@examples(60)
@given(padded_pools())
def test_padding_before_a_pool(chain: Chain) -> None:
    run(chain, rtol=1e-6)


def test_padding_goes_into_a_pool() -> None:
    for kind, value in (("max", -math.inf), ("avg", 0.0)):
        chain = Chain((1, 2, 5, 5))
        pads = (0, 0, 1, 1)
        chain.then(nn.PadOp("constant", chain.value, pads, pads, value))
        chain.then(
            nn.PoolOp(
                kind,
                chain.value,
                kernel=(3, 3),
                stride=(2, 2),
                padding=(0, 0),
                dilation=(1, 1),
                count_include_pad=False,
            )
        )
        assert run(chain)[0] == ["pool"]


@pytest.mark.parametrize("counts", [True, False])
def test_a_border_counts_as_input(counts: bool) -> None:
    chain = Chain((1, 2, 5, 5))
    pads = (0, 0, 1, 1)
    chain.then(nn.PadOp("constant", chain.value, pads, pads))
    chain.then(
        nn.PoolOp(
            "avg",
            chain.value,
            kernel=(5, 5),
            stride=(1, 1),
            padding=(1, 1),
            dilation=(1, 1),
            count_include_pad=counts,
        )
    )
    assert run(chain, rtol=1e-6)[0] == ["pad", "pool"][counts:]


def test_a_strided_unit_conv_reads_a_slice() -> None:
    chain = Chain((2, 3, 5, 6))
    conv(chain, 4, (1, 1), stride=(2, 3))
    names, module = run(chain)
    assert names == ["slice", "conv"]
    (op,) = (op for op in module.walk() if isinstance(op, nn.ConvOp))
    assert nn.shape_of(op.input) == (2, 3, 3, 2)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (1,), ()])
def test_a_matmul_and_a_sum_are_a_linear_layer(shape: tuple[int, ...]) -> None:
    chain = Chain((2, 3, 4))
    chain.then(nn.MatmulOp(chain.value, chain.constant(4, 5)))
    chain.then(nn.BinaryOp("add", chain.constant(*shape), chain.value))
    names, module = run(chain, rtol=1e-6)
    (op,) = (op for op in module.walk() if isinstance(op, nn.LinearOp))
    assert names == ["linear"]
    assert op.bias is not None


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), (1, 1, 1), (2, 4, 1, 1)])
def test_a_constant_per_filter_is_a_bias(shape: tuple[int, ...]) -> None:
    chain = Chain((2, 3, 5, 5))
    conv(chain, 4, (2, 2))
    chain.then(nn.BinaryOp("add", chain.value, chain.constant(*shape)))
    is_per_image = shape[0] == 2
    assert run(chain, rtol=1e-6)[0] == ["conv", "binary"][: 2 if is_per_image else 1]


def test_adaptive_pools() -> None:
    for size, out, expected in (
        ((4, 6), (4, 6), []),
        ((4, 6), (1, 1), ["reduce"]),
        ((4, 6), (2, 3), ["pool"]),
        ((5, 6), (2, 3), ["adaptive_pool"]),
    ):
        for kind in ("avg", "max"):
            chain = Chain((1, 2, *size))
            chain.then(nn.AdaptivePoolOp(kind, chain.value, out))
            assert run(chain, rtol=1e-6)[0] == expected


def test_pools_of_one_element_go() -> None:
    ones, zeros = (1, 1), (0, 0)
    for stride, padding, expected in ((ones, zeros, []), ((2, 1), zeros, ["pool"])):
        chain = Chain((1, 2, 4, 4))
        chain.then(
            nn.PoolOp(
                "avg",
                chain.value,
                kernel=ones,
                stride=stride,
                padding=padding,
                dilation=ones,
            )
        )
        assert run(chain)[0] == expected


IDENTITIES: dict[str, Callable[[SSAValue], Operation]] = {
    "reshape": lambda x: nn.ReshapeOp(x, (2, 3, 1, 4)),
    "transpose": lambda x: nn.TransposeOp(x, (0, 1, 2, 3)),
    "pad": lambda x: nn.PadOp("reflect", x, (0,) * 4, (0,) * 4),
    "slice": lambda x: nn.SliceOp(x, (0,) * 4, (2, 3, 1, 4), (1, 1, 2, 1)),
    "broadcast": lambda x: nn.BroadcastOp(x, (2, 3, 1, 4)),
    "cast": lambda x: nn.CastOp(x, f32),
    "concat": lambda x: nn.ConcatOp([x], 1),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identities_go(name: str) -> None:
    chain = Chain((2, 3, 1, 4))
    chain.then(IDENTITIES[name](chain.value))
    assert run(chain)[0] == []


def test_a_pad_that_shifts_stays() -> None:
    chain = Chain((1, 4))
    chain.then(nn.PadOp("constant", chain.value, (0, 1), (0, -1)))
    assert run(chain)[0] == ["pad"]


def test_a_pad_that_crops_is_a_slice() -> None:
    chain = Chain((2, 6))
    chain.then(nn.PadOp("replicate", chain.value, (0, -1), (0, -2)))
    assert run(chain)[0] == ["slice"]


def test_movements_merge() -> None:
    chain = Chain((2, 3, 4, 1))
    chain.then(nn.TransposeOp(chain.value, (1, 0, 2, 3)))
    chain.then(nn.TransposeOp(chain.value, (2, 0, 1, 3)))
    chain.then(nn.TransposeOp(chain.value, (0, 3, 1, 2)))
    chain.then(nn.ReshapeOp(chain.value, (12, 2)))
    chain.then(nn.ReshapeOp(chain.value, (24,)))
    chain.then(nn.UnaryOp("relu", chain.value))
    assert run(chain)[0] == ["unary", "transpose", "reshape"]


def test_transposes_that_others_read_are_not_passed() -> None:
    chain = Chain((2, 3))
    moved = chain.then(nn.TransposeOp(chain.value, (1, 0)))
    chain.then(nn.UnaryOp("exp", moved))
    chain.then(nn.BinaryOp("add", chain.value, moved))
    assert run(chain)[0] == ["transpose", "unary", "binary"]


@pytest.mark.parametrize(
    ("kinds", "left"),
    [
        ([("relu", ()), ("relu", ())], 1),
        ([("clamp", (0.0, 6.0)), ("clamp", (0.0, 6.0))], 1),
        ([("clamp", (0.0, 6.0)), ("clamp", (0.0, 1.0))], 2),
        ([("exp", ()), ("exp", ())], 2),
        ([("clamp", (0.0, math.inf)), ("relu", ())], 1),
        ([("clamp", (-math.inf, math.inf))], 0),
    ],
)
def test_repeats(kinds: list[tuple[str, tuple[float, ...]]], left: int) -> None:
    chain = Chain((7,))
    for kind, params in kinds:
        chain.then(nn.UnaryOp(kind, chain.value, params))
    assert len(run(chain)[0]) == left


def test_constants_are_folded_unless_they_grow() -> None:
    chain = Chain((3, 4))
    scale = chain.builder.insert(
        nn.BinaryOp("mul", chain.constant(3, 1), chain.constant(1, 1))
    )
    moved = chain.builder.insert(nn.TransposeOp(scale.result, (1, 0)))
    grown = chain.builder.insert(nn.BinaryOp("add", scale.result, chain.constant(1, 4)))
    square = chain.then(nn.BinaryOp("mul", chain.value, grown.result))
    chain.then(nn.MatmulOp(moved.result, square))
    assert run(chain, rtol=1e-6)[0] == ["binary", "binary", "matmul"]


@given(st.permutations(range(4)), st.permutations(range(4)))
def test_composed_permutations(first: list[int], second: list[int]) -> None:
    x = np.empty((2, 3, 4, 5))
    y = x.transpose(first).transpose(second)
    assert y.shape == x.transpose(compose(first, second)).shape


@given(st.permutations(range(3)), st.tuples(*[st.integers(1, 2)] * 3))
def test_order_in_memory(axes: list[int], shape: tuple[int, ...]) -> None:
    x = np.arange(math.prod(shape)).reshape(shape)
    is_same = (x.transpose(axes).ravel() == x.ravel()).all()
    assert keeps_order(axes, shape) == is_same


@given(st.data())
def test_kernels_larger_than_the_plane(data: st.DataObject) -> None:
    """Trimmed kernels and linear layers, whatever is padded, dilated or strided."""
    rank = data.draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(low, high)) for _ in range(rank))

    groups = data.draw(st.sampled_from([1, 1, 2]))
    size, kernel, dilation = each(1, 4), each(1, 4), each(1, 4)
    low, high, stride = each(0, 5), each(0, 5), each(1, 3)
    extents = zip(size, low, high, dilation, kernel, strict=True)
    assume(all(s + a + b > d * (k - 1) for s, a, b, d, k in extents))
    chain = Chain((2, 2 * groups, *size), seed=data.draw(st.integers(0, 99)))
    weight = chain.constant(3 * groups, 2, *kernel)
    layer = nn.ConvOp(
        chain.value,
        weight,
        stride=stride,
        padding_low=low,
        padding_high=high,
        dilation=dilation,
        groups=groups,
    )
    chain.then(layer)
    shape = nn.shape_of(layer.result)
    side = chain.constant(*data.draw(st.sampled_from([shape, (1, *shape[1:])])))
    chain.then(nn.BinaryOp("sub", side, chain.value))
    chain.then(nn.UnaryOp("relu", chain.value))
    names, module = run(chain, rtol=1e-5)
    assert set(names) <= {"conv", "linear", "reshape", "slice", "binary", "unary"}
    left = [op for op in module.walk() if isinstance(op, nn.ConvOp)]
    for op in left:
        is_one = math.prod(nn.shape_of(op.result)[2:]) == 1
        is_padded = any((*op.padding_low.get_values(), *op.padding_high.get_values()))
        assert groups == 2 or is_padded or not is_one
