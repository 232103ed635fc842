"""`lane` ops on tiles: square registers, and the product of two of them.

A thread has eight tiles. Each holds 16 rows of 16 lanes of 32 bits, and is named by its
number: tiles are registers of the machine, which nothing allocates, so an op that
changes one has no result. They exist between `lane.tile_configure` and
`lane.tile_release`.

These are the tiles of x86's AMX (Intel Architecture Instruction Set Extensions
Programming Reference, chapter 3), always at their full size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from xdsl.dialects.builtin import IndexType, IntegerAttr, f32, i32
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue
from xdsl.irdl import (
    IRDLOperation,
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
)
from xdsl.utils.exceptions import VerifyException

from edgec.dialects.lane.base import AccessOp, Buffer, memory
from edgec.dialects.nn import int_attr

TILES = 8
"""Tiles of a thread."""
TILE_ROWS = 16
"""Rows of a tile."""
TILE_LANES = 16
"""Lanes of a row."""


def _check_tiles(op: IRDLOperation, *tiles: IntegerAttr) -> None:
    """There are eight."""
    for tile in tiles:
        if not 0 <= tile.value.data < TILES:
            raise VerifyException(
                f"'{op.name}' op tile must be in 0..{TILES - 1}, got {tile.value.data}"
            )


@irdl_op_definition
class TileConfigureOp(IRDLOperation):
    """`lane.tile_configure`: from here on the thread has tiles, which are zero.

    It stands in the function itself, not in a loop or branch.
    """

    name = "lane.tile_configure"

    assembly_format = "attr-dict"

    def __init__(self) -> None:
        super().__init__()

    def verify_(self) -> None:
        """At the top level of a function."""
        if self.parent is not None and not isinstance(self.parent_op(), FuncOp):
            raise VerifyException(
                f"'{self.name}' op must stand in a function, not in a loop or branch"
            )


@irdl_op_definition
class TileReleaseOp(IRDLOperation):
    """`lane.tile_release`: tiles are gone, the system need not save them any more."""

    name = "lane.tile_release"

    assembly_format = "attr-dict"

    def __init__(self) -> None:
        super().__init__()


@irdl_op_definition
class TileZeroOp(IRDLOperation):
    """`lane.tile_zero {tile = 0 : i64}`: all lanes are 0."""

    name = "lane.tile_zero"

    tile = prop_def(IntegerAttr)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "attr-dict"

    def __init__(self, tile: int) -> None:
        super().__init__(properties={"tile": int_attr(tile)})

    def verify_(self) -> None:
        """The tile exists."""
        _check_tiles(self, self.tile)


class TileAccessOp(AccessOp):
    """Base of ops that read or write the rows of a tile.

    Row `r` is 16 neighbouring elements from `buffer[index + offset + r * step]` on.
    """

    buffer = operand_def(memory)
    index = operand_def(IndexType)
    step = operand_def(IndexType)
    tile = prop_def(IntegerAttr)
    offset = opt_prop_def(IntegerAttr)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$buffer `[` $index `]` `by` $step attr-dict `:` type($buffer)"

    def __init__(
        self,
        tile: int,
        buffer: SSAValue,
        index: SSAValue,
        step: SSAValue,
        *,
        offset: int = 0,
    ) -> None:
        super().__init__(
            operands=[buffer, index, step],
            properties={
                "tile": int_attr(tile),
                "offset": int_attr(offset) if offset else None,
            },
        )

    @property
    def constant_offset(self) -> int:
        """The constant part of the address, in elements."""
        return self.offset.value.data if self.offset else 0

    def verify_(self) -> None:
        """The tile exists, and the buffer holds its lanes."""
        _check_tiles(self, self.tile)
        buffer = cast("Buffer", self.buffer.type)  # the operand's constraint holds
        if len(buffer.shape.data) != 1 or buffer.element_type not in (i32, f32):
            raise VerifyException(
                f"'{self.name}' op must access a flat buffer of i32 or f32, "
                f"got {buffer}"
            )


@irdl_op_definition
class TileLoadOp(TileAccessOp):
    """`lane.tile_load %x[%i] by %step {tile = 6 : i64} : memref<512xi32>`.

    Row `r` of the tile is 16 elements from `buffer[index + offset + r * step]` on.
    """

    name = "lane.tile_load"


@irdl_op_definition
class TileStoreOp(TileAccessOp):
    """`lane.tile_store %y[%i] by %step {tile = 0 : i64} : memref<512xi32>`.

    Row `r` of the tile goes to 16 elements from `buffer[index + offset + r * step]` on.
    """

    name = "lane.tile_store"


class TileProductOp(IRDLOperation):
    """Base of products of two tiles that are added to a third one."""

    acc = prop_def(IntegerAttr)
    lhs = prop_def(IntegerAttr)
    rhs = prop_def(IntegerAttr)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "attr-dict"

    def __init__(self, acc: int, lhs: int, rhs: int) -> None:
        super().__init__(
            properties={
                "acc": int_attr(acc),
                "lhs": int_attr(lhs),
                "rhs": int_attr(rhs),
            }
        )

    @property
    def numbers(self) -> Sequence[int]:
        """The tiles: sum, left factor, right factor."""
        return [tile.value.data for tile in (self.acc, self.lhs, self.rhs)]

    def verify_(self) -> None:
        """Three tiles, as the instruction wants it."""
        _check_tiles(self, self.acc, self.lhs, self.rhs)
        if len(set(self.numbers)) < len(self.numbers):
            raise VerifyException(
                f"'{self.name}' op must name three different tiles, got {self.numbers}"
            )


@irdl_op_definition
class TileDotOp(TileProductOp):
    """`lane.tile_dot {acc = 0 : i64, lhs = 4 : i64, rhs = 6 : i64}`.

    Of three tiles, `acc[i][j] += sum(k, b) s8(byte b of lhs[i][k]) * u8(byte b of
    rhs[k][j])`, modulo 2^32: as `lane.dot_quads`, exact whatever the bytes are.
    """

    name = "lane.tile_dot"


@irdl_op_definition
class TileDotPairsOp(TileProductOp):
    """`lane.tile_dot_pairs {acc = 0 : i64, lhs = 4 : i64, rhs = 6 : i64}`.

    Of three tiles, `acc[i][j] += sum(k, b) half b of lhs[i][k] * half b of rhs[k][j]`,
    where `acc` holds float32 numbers and halves are bfloat16. It promises what sixteen
    `lane.dot_pairs` in any order do: each lane is within 2^-18 of the size of all its
    terms, and numbers, products and sums below 2^-126 in size may count as zero.
    """

    name = "lane.tile_dot_pairs"
