"""What the `lane` ops on tiles mean, in numpy."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import IntegerAttr
from xdsl.interpreter import (
    Interpreter,
    InterpreterFunctions,
    PythonValues,
    impl,
    register_impls,
)
from xdsl.ir import Operation
from xdsl.utils.exceptions import InterpretationError

from edgec.dialects import bf16, lane
from edgec.interpreter.arrays import AnyArray
from edgec.interpreter.lane import check_inside
from edgec.interpreter.quads import bytes_of

Tiles = npt.NDArray[np.int32]

SHAPE = (lane.TILES, lane.TILE_ROWS, lane.TILE_LANES)


@register_impls
class TileFunctions(InterpreterFunctions):
    """Implementations for xDSL's interpreter; each thread has tiles of its own."""

    def __init__(self) -> None:
        self._own = threading.local()

    def _tiles(self, op: Operation) -> Tiles:
        """The tiles of the thread that runs."""
        tiles = getattr(self._own, "tiles", None)
        if tiles is None:
            raise InterpretationError(f"'{op.name}' op before lane.tile_configure")
        return tiles

    @impl(lane.TileConfigureOp)
    def run_configure(
        self, interpreter: Interpreter, op: lane.TileConfigureOp, args: PythonValues
    ) -> PythonValues:
        """Zero tiles."""
        self._own.tiles = np.zeros(SHAPE, np.int32)
        return ()

    @impl(lane.TileReleaseOp)
    def run_release(
        self, interpreter: Interpreter, op: lane.TileReleaseOp, args: PythonValues
    ) -> PythonValues:
        """No tiles."""
        self._own.tiles = None
        return ()

    @impl(lane.TileZeroOp)
    def run_zero(
        self, interpreter: Interpreter, op: lane.TileZeroOp, args: PythonValues
    ) -> PythonValues:
        """Zeros."""
        self._tiles(op)[_number(op.tile)] = 0
        return ()

    @impl(lane.TileLoadOp)
    def run_load(
        self, interpreter: Interpreter, op: lane.TileLoadOp, args: PythonValues
    ) -> PythonValues:
        """Sixteen rows of a buffer."""
        buffer, index, step = args
        self._tiles(op)[_number(op.tile)] = buffer[
            _places(op, buffer, index, step)
        ].view(np.int32)
        return ()

    @impl(lane.TileStoreOp)
    def run_store(
        self, interpreter: Interpreter, op: lane.TileStoreOp, args: PythonValues
    ) -> PythonValues:
        """Sixteen rows of a buffer."""
        buffer, index, step = args
        if not buffer.flags.writeable:
            raise InterpretationError(f"'{op.name}' op writes to an input: {op}")
        rows = self._tiles(op)[_number(op.tile)].view(buffer.dtype)
        buffer[_places(op, buffer, index, step)] = rows
        return ()

    @impl(lane.TileDotOp)
    def run_dot(
        self, interpreter: Interpreter, op: lane.TileDotOp, args: PythonValues
    ) -> PythonValues:
        """A product of matrices of bytes: exact, then modulo 2^32."""
        tiles = self._tiles(op)
        acc, lhs, rhs = op.numbers
        left = bytes_of(tiles[lhs]).view(np.int8).astype(np.int64)
        right = bytes_of(tiles[rhs]).astype(np.int64)
        sums = np.einsum("ikb,kjb->ij", left, right)
        tiles[acc] = (tiles[acc] + sums).astype(np.int32)
        return ()

    @impl(lane.TileDotPairsOp)
    def run_dot_pairs(
        self, interpreter: Interpreter, op: lane.TileDotPairsOp, args: PythonValues
    ) -> PythonValues:
        """A product of matrices of bfloat16, in float64, then rounded to float32."""
        tiles = self._tiles(op)
        acc, lhs, rhs = op.numbers
        left, right = (
            bf16.parts_of(tiles[number]).astype(np.float64) for number in (lhs, rhs)
        )
        with np.errstate(all="ignore"):
            sums = tiles[acc].view(np.float32) + np.einsum("ikb,kjb->ij", left, right)
            tiles[acc] = sums.astype(np.float32).view(np.int32)
        return ()


def _number(tile: IntegerAttr) -> int:
    return tile.value.data


def _places(
    op: lane.TileAccessOp, buffer: AnyArray, index: int, step: int
) -> npt.NDArray[np.int64]:
    """The elements of each row; raises if one is outside of the buffer."""
    first = index + op.constant_offset
    rows = first + step * np.arange(lane.TILE_ROWS, dtype=np.int64)
    places = rows[:, None] + np.arange(lane.TILE_LANES, dtype=np.int64)
    check_inside(op, places.reshape(-1), len(buffer))
    return places
