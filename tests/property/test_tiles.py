"""Ops on tiles: machine code and interpreter against plain integers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import f32, i32
from xdsl.dialects.func import FuncOp
from xdsl.utils.exceptions import InterpretationError

from edgec.codegen.emit import emit_kernel, emit_module
from edgec.codegen.host import host_features
from edgec.codegen.intrinsics.amx import Product, has_tiles
from edgec.codegen.jit import emit_assembly
from edgec.context import EdgecContext
from edgec.dialects import bf16
from edgec.dialects.lane import TILE_LANES, TILE_ROWS, buffer_type
from edgec.interpreter import interpret
from edgec.kernels.builder import KernelBuilder
from edgec.kernels.tiles import TileRegisters
from edgec.passes.load_redundancy_elimination import Sharing
from edgec.target import Target
from tests.effort import examples
from tests.lanes import program, run_both, runnable_targets

Ints = npt.NDArray[np.int32]

TILE = TILE_ROWS * TILE_LANES
STEP, OFFSET = 24, 5
"""Of the rows of the right factor."""
AMX = Target.parse("x86-64-v4+vnni+amx")

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)


def kernel(*, repeats: int = 1) -> FuncOp:
    """`y = acc + repeats * (lhs * rhs)`, where the last tile is the sum."""
    rows = OFFSET + TILE_ROWS * STEP
    sizes = {"acc": TILE, "lhs": TILE, "rhs": rows, "y": TILE}
    buffers = {name: buffer_type(size, i32) for name, size in sizes.items()}
    b = KernelBuilder("tiles", buffers, lanes=16)
    tiles = TileRegisters(b)
    tiles.configure()
    tiles.load(7, "acc", 0, TILE_LANES)
    tiles.load(0, "lhs", 0, TILE_LANES)
    tiles.load(1, "rhs", 0, STEP, OFFSET)
    b.repeat(repeats, lambda _: tiles.dot(7, 0, 1))
    tiles.store(7, "y", 0, TILE_LANES)
    tiles.release()
    return b.finish()


def wanted(acc: Ints, lhs: Ints, rhs: Ints, repeats: int) -> Ints:
    """The same in 64-bit integers."""
    left = lhs.view(np.int8).reshape(TILE_ROWS, -1).astype(np.int64)
    rows = rhs[OFFSET:].reshape(TILE_ROWS, STEP)[:, :TILE_LANES]
    right = np.ascontiguousarray(rows).view(np.uint8).astype(np.int64)
    right = right.reshape(TILE_ROWS, TILE_LANES, 4).swapaxes(1, 2).reshape(-1, 16)
    sums = acc.reshape(TILE_ROWS, -1) + repeats * (left @ right)
    return sums.astype(np.int32).reshape(-1)


def pair_kernel() -> FuncOp:
    """The same of pairs, once; sums are float32."""
    types = {"acc": f32, "lhs": i32, "rhs": i32, "y": f32}
    buffers = {name: buffer_type(TILE, element) for name, element in types.items()}
    b = KernelBuilder("tiles", buffers, lanes=16)
    tiles = TileRegisters(b)
    tiles.configure()
    for tile, name in enumerate(("acc", "lhs", "rhs")):
        tiles.load(tile, name, 0, TILE_LANES)
    tiles.dot_pairs(0, 1, 2)
    tiles.store(0, "y", 0, TILE_LANES)
    tiles.release()
    return b.finish()


byte_kinds = st.sampled_from(["any", "least", "most"])


@targets
@examples(20)
@given(
    seed=st.integers(0, 2**16),
    kinds=st.tuples(byte_kinds, byte_kinds),
    repeats=st.integers(1, 3),
)
def test_exact(target: Target, seed: int, kinds: tuple[str, str], repeats: int) -> None:
    rng = np.random.default_rng(seed)
    acc, lhs = rng.integers(-(2**31), 2**31, (2, TILE)).astype(np.int32)
    rhs = rng.integers(-(2**31), 2**31, OFFSET + TILE_ROWS * STEP).astype(np.int32)
    for array, kind, (least, most) in zip(
        (lhs, rhs), kinds, ((0x80, 0x7F), (0, 0xFF)), strict=True
    ):
        if kind != "any":
            array.view(np.uint8)[:] = least if kind == "least" else most
    module = program(kernel(repeats=repeats), 3)
    ((compiled,), (interpreted,)) = run_both(module, [acc, lhs, rhs], target)
    expected = wanted(acc, lhs, rhs, repeats)
    np.testing.assert_array_equal(compiled, expected)
    np.testing.assert_array_equal(interpreted, expected)


@targets
@examples(20)
@given(seed=st.integers(0, 2**16), spread=st.sampled_from([0, 1, 12]))
def test_pairs_are_within_the_bound(target: Target, seed: int, spread: int) -> None:
    """That is 2^-18 of all terms; 33 roundings are one half of it."""
    rng = np.random.default_rng(seed)
    sizes = 2.0 ** rng.integers(-spread, spread + 1, (3, TILE_ROWS, TILE_LANES, 2))
    values = (rng.standard_normal(sizes.shape) * sizes).astype(np.float32)
    acc, (lhs, rhs) = values[0, ..., 0].copy(), map(bf16.rounded, values[1:])
    inputs = [acc.reshape(-1), *(bf16.pairs_of(v).reshape(-1) for v in (lhs, rhs))]
    left, right = (each.astype(np.float64) for each in (lhs, rhs))
    expected = acc + np.einsum("ikb,kjb->ij", left, right)
    size = np.abs(acc) + np.einsum("ikb,kjb->ij", np.abs(left), np.abs(right))
    for (found,) in run_both(program(pair_kernel(), 3), inputs, target):
        off = np.abs(found.reshape(expected.shape) - expected)
        assert (off <= 2.0**-18 * size).all()
        assert (off <= 33 * 2.0**-24 * size).all()


def test_pairs_are_one_instruction_where_the_target_has_it() -> None:
    target = Target.parse("x86-64-v4+vnni+amx+bf16")
    emitted = emit_module(program(pair_kernel(), 3), target)
    lines = emit_assembly(emitted.text, target).splitlines()
    names = [line.split()[0] for line in lines if "\t" in line and "tmm" in line]
    assert names == [*["tileloadd"] * 3, "tdpbf16ps", "tilestored"]
    other = emit_kernel(pair_kernel(), Target.parse("x86-64-v4+vnni"))
    assert set(other.definitions) == {"@tile_copy", "@tile_dot_pairs"}


def test_tiles_are_instructions_where_the_target_has_them() -> None:
    emitted = emit_module(program(kernel(), 3), AMX)
    lines = emit_assembly(emitted.text, AMX).splitlines()
    names = [line.split()[0] for line in lines if "\t" in line and "tmm" in line]
    assert names == [*["tileloadd"] * 3, "tdpbsud", "tilestored"]
    text = "\n".join(lines)
    assert text.count("\tldtilecfg\t") == text.count("\ttilerelease") == 1
    assert "tile_dot" not in text


def test_targets_without_tiles_call_functions() -> None:
    emitted = emit_kernel(kernel(), Target.parse("x86-64-v4+vnni"))
    assert "llvm.x86" not in emitted.text
    assert set(emitted.definitions) == {"@tile_copy", "@tile_dot"}


@pytest.mark.parametrize(
    ("missing", "build", "is_emulated"),
    [
        ("amx-bf16", kernel, False),
        ("amx-bf16", pair_kernel, True),
        ("amx-int8", kernel, True),
        ("amx-int8", pair_kernel, False),
        ("amx-tile", kernel, True),
    ],
)
def test_each_product_has_a_feature_of_its_own(
    missing: str, build: Callable[[], FuncOp], is_emulated: bool
) -> None:
    target = replace(AMX, features=AMX.features - {missing})
    emitted = emit_kernel(build(), target)
    assert ("llvm.x86" not in emitted.text) == is_emulated
    is_pairs = build is pair_kernel
    assert has_tiles(target, Product.PAIRS if is_pairs else Product.BYTES) != (
        is_emulated
    )


def test_the_configuration_is_what_the_instruction_reads() -> None:
    (text,) = emit_kernel(kernel(), AMX).definitions.values()
    (quoted,) = re.findall(r'c"(.*)"', text)
    content = bytes.fromhex(quoted.replace("\\", ""))
    assert len(content) == 64
    assert content[0] == 1
    assert content[16:32] == (64).to_bytes(2, "little") * 8
    assert content[48:56] == bytes([16] * 8)
    assert sum(content) == 1 + 8 * 64 + 8 * 16


def test_a_tile_without_a_configuration_is_an_error() -> None:
    b = KernelBuilder("tiles", {"y": buffer_type(TILE, i32)}, lanes=16)
    TileRegisters(b).zero(0)
    with pytest.raises(InterpretationError, match=r"before lane\.tile_configure"):
        interpret(program(b.finish(), 0), [], EdgecContext())


def test_a_row_outside_of_the_buffer_is_an_error() -> None:
    b = KernelBuilder("tiles", {"y": buffer_type(TILE, i32)}, lanes=16)
    tiles = TileRegisters(b)
    tiles.configure()
    tiles.store(0, "y", 0, TILE_LANES, offset=1)
    with pytest.raises(InterpretationError, match="accesses element 256"):
        interpret(program(b.finish(), 0), [], EdgecContext())


def test_loads_after_a_tile_was_stored_are_not_shared() -> None:
    b = KernelBuilder("tiles", {"y": buffer_type(TILE, i32)}, lanes=16)
    tiles = TileRegisters(b)
    tiles.configure()
    b.load("y", 0)
    tiles.store(0, "y", 0, TILE_LANES)
    b.load("y", 0)
    names = ("loads_before", "removed_kernel_level", "removed_filter_level")
    sharing = Sharing(dict.fromkeys(names, 0))
    sharing.block(b.finish().body.block, {})
    assert sharing.counts == {**dict.fromkeys(names, 0), "loads_before": 2}
