"""Mapping types: every cell of the table, every op, and the rules behind the cells."""

from __future__ import annotations

import itertools

import pytest
from xdsl.dialects.builtin import TensorType, f32
from xdsl.ir import Operation
from xdsl.utils.test_value import create_ssa_value

from edgec.dialects import nn, sq
from edgec.passes.analysis.mapping import (
    MAPPING_TYPES,
    TABLE,
    Fusion,
    MappingType,
    Verdict,
    fusion,
    mapping_type,
)

CELLS = """
one-to-one   one-to-one   fuse  one-to-one
one-to-one   one-to-many  fuse  one-to-many
one-to-one   many-to-many fuse  many-to-many
one-to-one   reorganize   fuse  reorganize
one-to-one   shuffle      fuse  shuffle
one-to-many  one-to-one   fuse  one-to-many
one-to-many  one-to-many  check one-to-many
one-to-many  many-to-many break many-to-many
one-to-many  reorganize   check one-to-many
one-to-many  shuffle      check one-to-many
many-to-many one-to-one   fuse  many-to-many
many-to-many one-to-many  check many-to-many
many-to-many many-to-many break many-to-many
many-to-many reorganize   check many-to-many
many-to-many shuffle      check many-to-many
reorganize   one-to-one   fuse  reorganize
reorganize   one-to-many  check one-to-many
reorganize   many-to-many check many-to-many
reorganize   reorganize   fuse  reorganize
reorganize   shuffle      fuse  reorganize
shuffle      one-to-one   fuse  shuffle
shuffle      one-to-many  check one-to-many
shuffle      many-to-many check many-to-many
shuffle      reorganize   fuse  reorganize
shuffle      shuffle      fuse  shuffle
"""
ROWS = [line.split() for line in CELLS.strip().splitlines()]

HARDNESS = {
    MappingType.ONE_TO_ONE: 0,
    MappingType.SHUFFLE: 1,
    MappingType.REORGANIZE: 2,
    MappingType.ONE_TO_MANY: 3,
    MappingType.MANY_TO_MANY: 4,
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} then {row[1]}")
def test_cell(row: list[str]) -> None:
    first, second, verdict, result = row
    found = fusion(MappingType(first), MappingType(second))
    assert found == Fusion(Verdict(verdict), MappingType(result))


def test_the_table_is_complete() -> None:
    pairs = set(itertools.product(MappingType, MappingType))
    assert set(TABLE) == pairs
    assert {(row[0], row[1]) for row in ROWS} == pairs
    # The paper has 23 rules to generate code by: all cells but the red ones.
    assert sum(cell.verdict is not Verdict.BREAK for cell in TABLE.values()) == 23


@pytest.mark.parametrize("first", MappingType)
@pytest.mark.parametrize("second", MappingType)
def test_a_pair_has_the_type_of_its_harder_half(
    first: MappingType, second: MappingType
) -> None:
    assert fusion(first, second).result is max(first, second, key=HARDNESS.__getitem__)


def test_every_op_that_reads_tensors_has_a_type() -> None:
    constants: set[type[Operation]] = {nn.ConstantOp, sq.WeightOp}
    every = {*nn.NN.operations, *sq.SQ.operations}
    assert set(MAPPING_TYPES) == every - constants - {sq.YieldOp}


def test_to_an_operand_that_broadcasts_a_sum_is_one_to_many() -> None:
    whole, part = (create_ssa_value(TensorType(f32, s)) for s in ([2, 3], [3]))
    add = nn.BinaryOp("add", whole, part)
    assert mapping_type(add, 0) is MappingType.ONE_TO_ONE
    assert mapping_type(add, 1) is MappingType.ONE_TO_MANY
    steps = [sq.StepAttr.unary("relu")]
    spread = sq.ElementwiseOp(part, [], steps, nn.like(part, (2, 3)))
    assert mapping_type(spread) is MappingType.ONE_TO_MANY
