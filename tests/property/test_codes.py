"""Codes: looking them up, packing them, and integer layers that read them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from xdsl.dialects.builtin import i32

from edgec.codegen.host import host_features
from edgec.codegen.intrinsics.lookup import Selects, Shuffle, lookup_for
from edgec.dialects.lane import QUAD, TABLE_LANES, buffer_type
from edgec.dialects.sq import Step
from edgec.kernels.builder import KernelBuilder
from edgec.kernels.layout import Layout, plain
from edgec.kernels.linear.codes import (
    CODE_BITS,
    Codes,
    bits_of,
    code_shape,
    pack_codes,
    values_of,
)
from edgec.kernels.linear.quads import (
    QuadLinear,
    in_order_of_quads,
    pack_linear_quads,
)
from edgec.kernels.requantize import Dequantize, Requantize
from edgec.target import Target
from tests.effort import examples
from tests.lanes import program, run_both, runnable_targets

Bytes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]

native = Target.native(host_features())
machines = (*runnable_targets(), native)
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)

VALUES: dict[str, tuple[int, ...]] = {
    "ternary": (-1, 0, 1),
    "int2": (-2, -1, 0, 1),
    "int4": tuple(range(-8, 8)),
    "powers": (-64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64),
    "sums": (-127, -96, -80, -72, -48, -40, -24, 0, 24, 40, 48, 72, 80, 96, 127),
    "int8": tuple(range(-128, 128)),
}
"""What weights are; each needs the bits that `BITS` has."""
BITS = {"ternary": 2, "int2": 2, "int4": 4, "powers": 4, "sums": 4, "int8": 8}


@targets
@examples(8)
@given(seed=st.integers(0, 2**32 - 1))
def test_look_up(target: Target, seed: int) -> None:
    """Tables differ from four lanes to the next, and may hold any byte."""
    rng, lanes = np.random.default_rng(seed), target.lanes
    codes, table = rng.integers(0, 256, (2, lanes, QUAD), np.uint8)
    quads = buffer_type(lanes, i32)
    types = {"codes": quads, "table": quads, "y": buffer_type(2 * lanes, i32)}
    b = KernelBuilder("decode", types, lanes=lanes)
    loaded = b.load("codes", 0), b.load("table", 0)
    for part in (0, 1):
        b.store(b.decode_quads(*loaded, part), "y", 0, offset=part * lanes)
    inputs = [array.view("<i4").reshape(-1) for array in (codes, table)]
    ((found,), (interpreted,)) = run_both(program(b.finish(), 2), inputs, target)
    expected = [
        int.from_bytes(
            bytes(
                table[number - number % TABLE_LANES :].reshape(-1)[byte >> shift & 15]
                for byte in codes[number].tolist()
            ),
            "little",
            signed=True,
        )
        for shift in (0, 4)
        for number in range(lanes)
    ]
    assert found.tolist() == expected
    assert interpreted.tolist() == expected


@pytest.mark.parametrize(
    ("name", "lanes", "kind"),
    [
        ("generic", 4, Selects),
        ("x86-64-v3", 4, Shuffle),
        ("x86-64-v3", 8, Shuffle),
        ("x86-64-v3", 16, Selects),
        ("x86-64-v4", 16, Shuffle),
        ("aarch64", 4, Shuffle),
    ],
)
def test_which_instruction(name: str, lanes: int, kind: type) -> None:
    assert type(lookup_for(Target.parse(name), lanes)) is kind


def decoded(codes: Codes) -> Ints:
    """The weight that is packed, bit by bit."""
    shape, arrays = codes.shape, codes.arrays
    rows = arrays["w"].view(np.uint8).reshape(-1, shape.block, QUAD)
    wide = -(-shape.inputs // shape.per_step) * shape.per_step
    size = QUAD if shape.is_quads else 1
    found = np.zeros((shape.blocks * shape.block, wide, size), np.int64)
    starts = arrays.get("starts")
    for block in range(shape.blocks):
        count = wide // shape.per_step
        begin, end = block * count, (block + 1) * count
        if starts is not None:
            begin, end = starts[block : block + 2]
        for step in range(begin, end):
            for part in range(shape.parts):
                quad = rows[step] >> (part * shape.bits) & ((1 << shape.bits) - 1)
                if shape.bits < 8:
                    table = arrays["table"].view(np.int8).reshape(-1, 64)
                    own = table[part % shape.tables]
                    quad = own[quad << (part % shape.tables * shape.bits)]
                quad = quad.view(np.int8).astype(np.int64)
                for byte in range(QUAD):
                    number = part if shape.is_quads else part * QUAD + byte
                    place = (step - begin) * shape.per_step + number
                    if "where" in arrays:
                        place = arrays["where"][step * shape.per_step + number]
                    at = byte if shape.is_quads else 0
                    own = slice(block * shape.block, (block + 1) * shape.block)
                    found[own, place, at] += quad[:, byte]
    whole = found.reshape(len(found), -1)
    assert not whole[shape.outputs :].any()
    return whole[: shape.outputs]


@examples(60)
@given(
    kind=st.sampled_from(list(VALUES)),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    block=st.sampled_from([4, 8, 16]),
    is_quads=st.booleans(),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_packing_loses_nothing(
    kind: str,
    sizes: tuple[int, int],
    block: int,
    is_quads: bool,
    density: float,
    seed: int,
) -> None:
    weight = draw_weight(kind, sizes, density, block, np.random.default_rng(seed))
    codes = pack_codes(weight, block, is_quads=is_quads)
    assert codes.shape.bits <= BITS[kind]
    found = decoded(codes)
    np.testing.assert_array_equal(found[:, : sizes[1]], weight)
    assert not found[:, sizes[1] :].any()
    buffers = codes.shape.buffers()
    assert list(buffers) == sorted(codes.arrays, key=list(buffers).index)
    for name, type_ in buffers.items():
        assert type_.get_shape() == codes.arrays[name].shape


def draw_weight(
    kind: str,
    sizes: tuple[int, int],
    density: float,
    block: int,
    rng: np.random.Generator,
) -> Bytes:
    """A weight of some values, punched in blocks of outputs."""
    weight = rng.choice(np.array(VALUES[kind], np.int8), sizes)
    keep = rng.random((-(-sizes[0] // block), sizes[1])) < density
    return weight * keep.repeat(block, 0)[: sizes[0]]


def test_bits() -> None:
    for kind, values in VALUES.items():
        assert bits_of(np.array(values, np.int8)) == BITS[kind]
    # 0 is a value even if no weight has it: something must stand where nothing is.
    assert bits_of(np.array([1, 2, 3, 4], np.int8)) == CODE_BITS[1]


@dataclass(frozen=True)
class Layer:
    """What a case is about."""

    kind: str
    rows: int
    outputs: int
    inputs: int
    vectors: int
    sparse: bool
    zero_point: int
    to: Requantize | None
    step: str
    corner: int
    """The byte of all inputs, whose weights are as large as they get; -1 for any."""
    before: int
    """Elements of a wider tensor before each row of the result."""
    seed: int


layers = st.builds(
    Layer,
    st.sampled_from(list(VALUES)),
    st.integers(1, 8),
    st.integers(1, 150),
    st.integers(1, 70),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
    st.sampled_from([0, 3, 128, 255]),
    st.none()
    | st.builds(
        Requantize,
        st.sampled_from([1.0, 25.0]),
        st.sampled_from([0, 7, 255]),
        st.just(0),
        st.sampled_from([127, 255]),
    ).filter(lambda to: to.zero_point <= to.high),
    st.sampled_from(["", "relu", "abs", "residual", "bytes", "per output"]),
    st.sampled_from([-1, -1, 0, 255]),
    st.sampled_from([0, 3]),
    st.integers(0, 2**16),
)

STEPS: dict[str, tuple[Step, ...]] = {
    "": (),
    "relu": (Step("relu", (), -1, False),),
    "abs": (Step("abs", (), -1, False), Step("relu", (), -1, False)),
    "residual": (Step("add", (), 0, False),),
    "bytes": (Step("add", (), 0, False), Step("relu", (), -1, False)),
    "per output": (Step("mul", (), 0, False), Step("neg", (), -1, False)),
}


MEANS = Dequantize(0.37, 7)


def quads_of(values: npt.NDArray[np.uint8], fill: int = 0) -> npt.NDArray[np.int32]:
    """A matrix of bytes as a buffer, with `fill` in missing channels."""
    missing = ((0, 0), (0, -values.shape[1] % QUAD))
    return np.pad(values, missing, constant_values=fill).view("<i4").reshape(-1)


@targets
@examples(12)
@example(layer=Layer("int8", 1, 9, 4096, 1, False, 0, None, "", 255, 0, 0))
@given(layer=layers)
def test_quad_linear_is_exact(target: Target, layer: Layer) -> None:
    rng = np.random.default_rng(layer.seed)
    lanes, to = target.lanes, layer.to
    block = lanes * (QUAD if to else layer.vectors)
    size, density = (layer.outputs, layer.inputs), 0.3 if layer.sparse else 1.0
    weight = draw_weight(layer.kind, size, density, block, rng)
    x = rng.integers(0, 256, (layer.rows, layer.inputs)).astype(np.uint8)
    if layer.corner >= 0:
        x[:] = layer.corner
        ends = np.array([min(VALUES[layer.kind]), max(VALUES[layer.kind])], np.int8)
        weight[:] = rng.choice(ends, (layer.outputs, 1))
    scale = rng.uniform(1e-4, 1e-2, layer.outputs).astype(np.float32)
    shift = rng.standard_normal(layer.outputs).astype(np.float32)
    shape = (layer.rows, layer.outputs)
    extras = {"residual": [shape], "bytes": [shape], "per output": [shape[1:]]}
    sides = [
        rng.standard_normal(extra).astype(np.float32)
        for extra in extras.get(layer.step, [])
    ]
    stored, means = [side.reshape(-1) for side in sides], ()
    if layer.step == "bytes" and to is not None:
        q = rng.integers(0, 256, shape).astype(np.uint8)
        sides, means = [(q.astype(np.float32) - 7) * np.float32(0.37)], (MEANS,)
        stored = [quads_of(q)]

    codes, is_bounded, numbers = pack_linear_quads(
        weight,
        layer.zero_point,
        scale,
        shift,
        block,
        interleaved=lanes if to else 0,
        sparse=layer.sparse,
    )
    groups, result = -(-layer.inputs // QUAD), shape
    if to is not None:
        result = (layer.rows, -(-layer.outputs // QUAD))
    spec = QuadLinear(
        plain((layer.rows, groups)),
        part_of_rows(result, layer.before),
        codes.shape,
        is_bounded,
        STEPS[layer.step],
        tuple(plain(result if means else side.shape) for side in sides),
        to,
        means,
    )
    buffers = [quads_of(x, layer.zero_point)]
    buffers += [codes.arrays[name] for name in codes.shape.buffers()]
    buffers += [*numbers.values(), *stored]
    module = program(spec.build("kernel", lanes), len(buffers))
    ((found,), (interpreted,)) = run_both(module, buffers, target)
    wanted = expected(layer, x, weight, scale, shift, sides)
    found, interpreted = (
        wide.reshape(layer.rows, -1)[:, layer.before :].reshape(-1)
        for wide in (found, interpreted)
    )
    np.testing.assert_array_equal(interpreted, wanted)
    if not target.fma:
        wanted = expected(layer, x, weight, scale, shift, sides, fused=False)
    np.testing.assert_array_equal(found, wanted)


def part_of_rows(shape: tuple[int, int], before: int) -> Layout:
    """A matrix whose rows have so many elements of another one before them."""
    rows, columns = shape
    width = before + columns
    return Layout(shape, (width, 1), before, size=rows * width)


@given(
    st.integers(1, 3),
    st.integers(1, 9),
    st.lists(st.integers(1, 3), max_size=3),
    st.integers(0, 999),
)
def test_columns_in_order_of_quads(
    outputs: int, channels: int, window: list[int], seed: int
) -> None:
    """The same sums from the bytes of a tensor as they lie, whatever fills quads."""
    rng = np.random.default_rng(seed)
    shape = (2, channels, *window)
    weight = rng.integers(-127, 128, (outputs, math.prod(shape[1:]))).astype(np.int8)
    x = rng.integers(0, 256, shape).astype(np.uint8)
    wide = np.full((2, -(-channels // QUAD) * QUAD, *window), 255, np.uint8)
    wide[:, :channels] = x
    stored = np.moveaxis(wide.reshape(2, -1, QUAD, *window), 2, -1).reshape(2, -1)
    moved = in_order_of_quads(weight, shape)
    np.testing.assert_array_equal(
        stored.astype(int) @ moved.T.astype(int),
        x.reshape(2, -1).astype(int) @ weight.T.astype(int),
    )


@given(
    st.integers(1, 70),
    st.integers(1, 40),
    st.sampled_from([8, 16, 64]),
    st.booleans(),
    st.sampled_from([None, True, False]),
    st.integers(0, 999),
)
def test_shape_is_that_of_the_packed_weight(
    outputs: int,
    inputs: int,
    block: int,
    is_quads: bool,
    sparse: bool | None,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.integers(-2, 2, (outputs, inputs)).astype(np.int8)
    weight *= rng.random(weight.shape) < rng.choice([0.0, 0.02, 0.5])
    codes = pack_codes(weight, block, is_quads=is_quads, sparse=sparse)
    assert codes.shape == code_shape(weight, block, is_quads=is_quads, sparse=sparse)
    size = codes.shape.total_steps * codes.shape.block
    assert codes.arrays["w"].size == size


def expected(
    layer: Layer,
    x: npt.NDArray[np.uint8],
    weight: Bytes,
    scale: npt.NDArray[np.float32],
    shift: npt.NDArray[np.float32],
    sides: list[npt.NDArray[np.float32]],
    *,
    fused: bool = True,
) -> npt.NDArray[np.generic]:
    """The same in integers, then float32 operation by operation.

    `fused`: the scale and the shift count as one.
    """
    sums = (x.astype(np.int64) - layer.zero_point) @ weight.T.astype(np.int64)
    assert np.abs(sums).max(initial=0) < 2**31
    # Products of two float32 numbers are exact in float64.
    wide = sums.astype(np.float32) * scale.astype(np.float64 if fused else np.float32)
    v = (wide + shift).astype(np.float32)
    for step in STEPS[layer.step]:
        v = {
            "relu": lambda v: np.maximum(v, np.float32(0)),
            "abs": np.abs,
            "neg": np.negative,
            "add": lambda v: v + sides[0],
            "mul": lambda v: v * sides[0],
        }[step.kind](v)
    to = layer.to
    if to is None:
        return v.reshape(-1)
    q = np.clip(
        v * np.float32(to.inverse), to.low - to.zero_point, to.high - to.zero_point
    )
    quads = np.full((layer.rows, -(-layer.outputs // QUAD) * QUAD), to.zero_point, "u1")
    quads[:, : layer.outputs] = np.rint(q) + to.zero_point
    return quads.view("<i4").reshape(-1)


@given(npst.arrays(np.int8, npst.array_shapes(min_dims=2, max_dims=2, min_side=0)))
def test_the_values_of_a_weight(weight: Bytes) -> None:
    expected = np.union1d(weight, [0])
    for view in (weight, weight.T):
        np.testing.assert_array_equal(values_of(view), expected)
