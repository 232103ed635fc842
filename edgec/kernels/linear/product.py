"""The register block of a matrix product: rows x vectors of columns.

    for k:  b[vectors] = B row k;  for r in rows: acc[r][*] += splat(A[r][k]) * b[*]

B rows are read as they lie, a constant distance apart. The order of additions is that
of k, whatever the block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdsl.ir import SSAValue

from edgec.kernels.builder import Index, KernelBuilder

UNROLL = 4
"""Steps of k per iteration."""

Multiply = Callable[[SSAValue, SSAValue, SSAValue], SSAValue]
"""`multiply(sum, column, factor)`."""


@dataclass(frozen=True)
class Block:
    """Size of a register block."""

    rows: int
    vectors: int


def best_block(lanes: int, rows: int, columns: int) -> Block:
    """A block of at most `rows x columns` whose accumulators fit the registers.

    AVX-512 has 32 registers, AVX2 16; a few hold operands. Rows are shared out evenly:
    9 rows are blocks of 5 and 4, not of 8 and 1.
    """
    accumulators, widest = (24, 3) if lanes == 16 else (12, 2)
    vectors = min(widest, -(-columns // lanes))
    most = min(accumulators // vectors, 12)
    return Block(-(-rows // -(-rows // most)), vectors)


@dataclass(frozen=True)
class Operands:
    """Where a block reads.

    `A[r][k]` at `rows[r] + k * a_step`, `B[k]` at `b_base + k * b_step`.
    """

    a: SSAValue | str
    rows: Sequence[tuple[Index, int]]
    """Base and constant offset of each row of A."""
    a_step: int
    b: SSAValue | str
    b_base: Index
    b_step: int


def accumulate(
    b: KernelBuilder,
    operands: Operands,
    depth: int,
    masks: Sequence[SSAValue | None],
    multiply: Multiply | None = None,
) -> list[list[SSAValue]]:
    """Vectors `[row][v]` of the product; `masks` say which columns B has.

    `multiply` adds a product to a sum, where it is not one of float32 numbers.
    """
    rows, vectors = len(operands.rows), len(masks)
    add = multiply or b.dot

    def step(totals: list[SSAValue], k: Index, offset: int) -> None:
        at = b.plus(operands.b_base, b.times(k, operands.b_step))
        columns = [
            b.load(
                operands.b,
                at,
                offset=offset * operands.b_step + v * b.lanes,
                mask=mask,
            )
            for v, mask in enumerate(masks)
        ]
        for r, (base, constant) in enumerate(operands.rows):
            where = b.plus(base, b.times(k, operands.a_step))
            shift = constant + offset * operands.a_step
            factor = b.splat(b.load(operands.a, where, lanes=1, offset=shift))
            for v, column in enumerate(columns):
                number = r * vectors + v
                totals[number] = add(totals[number], column, factor)

    def block(k: SSAValue, *carried: SSAValue) -> list[SSAValue]:
        totals = list(carried)
        for offset in range(UNROLL):
            step(totals, k, offset)
        return totals

    whole = depth - depth % UNROLL
    totals = [b.constant(0.0)] * (rows * vectors)
    if whole:
        totals = list(b.loop(0, whole, block, step=UNROLL, carried=totals))
    for offset in range(depth % UNROLL):
        step(totals, 0, whole + offset)
    return [totals[r * vectors : (r + 1) * vectors] for r in range(rows)]


def column_masks(b: KernelBuilder, columns: int, vectors: int) -> list[SSAValue | None]:
    """Masks of the vectors that hold `columns` columns; at most `vectors` of them."""
    masks: list[SSAValue | None] = []
    for start in range(0, min(columns, vectors * b.lanes), b.lanes):
        left = columns - start
        masks.append(b.tail_mask(left) if left < b.lanes else None)
    return masks


def for_blocks(
    b: KernelBuilder,
    size: int,
    block: int,
    number: Index,
    body: Callable[[Index, int], None],
) -> None:
    """`body(first, count)` for block `number` of `size` items; the last is shorter."""
    full, rest = divmod(size, block)
    first = b.times(number, block)
    if not rest:
        body(first, block)
    elif not full:
        body(first, rest)
    else:
        b.when(
            b.equal(number, full),
            lambda: body(full * block, rest),
            lambda: body(first, block),
        )
