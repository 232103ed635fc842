"""Code of the ops on tiles."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.ir import Operation

from edgec.codegen.emit_function import Emitter, FunctionEmitter, is_literal
from edgec.codegen.intrinsics.amx import (
    Amx,
    EmulatedTiles,
    Product,
    Tiles,
    has_tiles,
)
from edgec.dialects import lane

ELEMENT_BYTES = 4
"""Of a lane."""


PRODUCTS: Mapping[type[Operation], Product] = {
    lane.TileDotOp: Product.BYTES,
    lane.TileDotPairsOp: Product.PAIRS,
}


def emit_tile_configure(emitter: FunctionEmitter, op: lane.TileConfigureOp) -> None:
    """`lane.tile_configure`; looks ahead for the products that are asked for."""
    function = op.parent_op()
    assert function is not None
    found = {PRODUCTS[type(o)] for o in function.walk() if type(o) in PRODUCTS}
    emitter.has_tiles = has_tiles(emitter.target, *found)
    _tiles(emitter).configure(emitter)


def _tiles(emitter: FunctionEmitter) -> Tiles:
    """Instructions, or plain code where the target lacks a product of the function."""
    return Amx() if emitter.has_tiles else EmulatedTiles()


def emit_tile_release(emitter: FunctionEmitter, _: lane.TileReleaseOp) -> None:
    """`lane.tile_release`."""
    _tiles(emitter).release(emitter)


def emit_tile_zero(emitter: FunctionEmitter, op: lane.TileZeroOp) -> None:
    """`lane.tile_zero`."""
    _tiles(emitter).zero(emitter, op.tile.value.data)


def emit_tile_load(emitter: FunctionEmitter, op: lane.TileLoadOp) -> None:
    """`lane.tile_load`."""
    tile, (pointer, stride) = op.tile.value.data, _place(emitter, op)
    _tiles(emitter).load(emitter, tile, pointer, stride)


def emit_tile_store(emitter: FunctionEmitter, op: lane.TileStoreOp) -> None:
    """`lane.tile_store`."""
    tile, (pointer, stride) = op.tile.value.data, _place(emitter, op)
    _tiles(emitter).store(emitter, tile, pointer, stride)


def emit_tile_dot(emitter: FunctionEmitter, op: lane.TileDotOp) -> None:
    """`lane.tile_dot`."""
    _tiles(emitter).dot(emitter, *op.numbers)


def emit_tile_dot_pairs(emitter: FunctionEmitter, op: lane.TileDotPairsOp) -> None:
    """`lane.tile_dot_pairs`."""
    _tiles(emitter).dot_pairs(emitter, *op.numbers)


def _place(emitter: FunctionEmitter, op: lane.TileAccessOp) -> tuple[str, str]:
    """Where the first row stands, and the bytes from one to the next."""
    offset, step = op.constant_offset, emitter.value(op.step)
    pointer = emitter.address(op.buffer, op.index, offset, ELEMENT_BYTES)
    if is_literal(step):
        return pointer, str(ELEMENT_BYTES * int(step))
    return pointer, emitter.shared(f"mul nsw i64 {step}, {ELEMENT_BYTES}")


TILES: Mapping[type[Operation], Emitter] = {
    lane.TileConfigureOp: emit_tile_configure,
    lane.TileReleaseOp: emit_tile_release,
    lane.TileZeroOp: emit_tile_zero,
    lane.TileLoadOp: emit_tile_load,
    lane.TileStoreOp: emit_tile_store,
    lane.TileDotOp: emit_tile_dot,
    lane.TileDotPairsOp: emit_tile_dot_pairs,
}
"""Ops on tiles."""
