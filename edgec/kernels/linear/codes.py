"""Weights as codes: packed for the loop that decodes them in registers.

A weight `[outputs, inputs]` of signed bytes stands in blocks of outputs, the lanes. A
step of the loop takes one row of 32-bit lanes, which hold 8 / bits quads each
(`lane.decode_quads`). A quad is four neighbouring inputs where the input is quads of
bytes too, and four inputs of any place where it is float32. Where most of a block's
inputs meet zeros only, those are left out, and a table says which are there.

The bits follow from the weight: 2 where it has at most 4 values, 4 for at most 16, else
8, which are no codes but the bytes themselves.

Source: RTMobile (DAC 2020), section III, for blocks of rows that keep the same columns;
Chang et al., "Mix and Match" (HPCA 2021), for sums of powers of two, which a table
makes as cheap as other numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import i32

from edgec.dialects.lane import QUAD, TABLE_BYTES, buffer_type
from edgec.kernels.recurrent.gates import Arrays, Buffers

Bytes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int32]

CODE_BITS = (2, 4, 8)
"""Of a weight."""
TABLE_COPIES = 4
"""Of a table, for vectors of 16 lanes."""
TABLE_STEP = TABLE_BYTES * TABLE_COPIES // QUAD
"""Lanes from one table to the next."""
INDEX_BYTES = 4
"""Of the place of an input that is kept."""
VALUES = 256
"""Of a byte."""
PART = 1 << 16
"""Values that are looked up at a time: the places are eight bytes each, in cache."""
WORTH = 0.9
"""Share of the dense bytes below which zeros are left out."""


@dataclass(frozen=True)
class CodeShape:
    """What a kernel has to know about a packed weight."""

    outputs: int
    inputs: int
    """Those of the loop: quads, if the input of the layer is quads."""
    block: int
    """Outputs that stand together: a multiple of the lanes, or the lanes of it."""
    bits: int
    is_quads: bool
    """Whether an input of the loop is a quad of bytes; else it is a float32."""
    steps: int
    """Of all blocks together, if zeros are left out; 0 if all inputs are there."""

    @property
    def parts(self) -> int:
        """Quads of a lane."""
        return 8 // self.bits

    @property
    def per_step(self) -> int:
        """Inputs of a step."""
        return self.parts if self.is_quads else self.parts * QUAD

    @property
    def tables(self) -> int:
        """For each part of an index one."""
        return max(1, self.parts // 2)

    @property
    def blocks(self) -> int:
        """Blocks of outputs; the last one may have fewer."""
        return -(-self.outputs // self.block)

    @property
    def is_sparse(self) -> bool:
        """Whether zeros are left out."""
        return self.steps > 0

    @property
    def total_steps(self) -> int:
        """Rows of lanes of the whole weight."""
        if self.is_sparse:
            return self.steps
        return self.blocks * -(-self.inputs // self.per_step)

    @property
    def stored_weights(self) -> int:
        """Codes of the whole weight, those that fill up steps and blocks included."""
        return self.total_steps * self.per_step * self.block

    def buffers(self) -> Buffers:
        """Name and type of the arrays of `Codes`."""
        found = {"w": buffer_type(self.total_steps * self.block, i32)}
        if self.bits < 8:
            found["table"] = buffer_type(self.tables * TABLE_STEP, i32)
        if self.is_sparse:
            found["where"] = buffer_type(self.steps * self.per_step, i32)
            found["starts"] = buffer_type(self.blocks + 1, i32)
        return found

    @property
    def num_bytes(self) -> int:
        """Of all arrays."""
        return sum(
            math.prod(type_.get_shape()) * type_.element_type.size
            for type_ in self.buffers().values()
        )


@dataclass(frozen=True, eq=False)
class Codes:
    """A packed weight."""

    shape: CodeShape
    arrays: Arrays
    """`w` `[steps][block]`; for codes `table`, each of 16 bytes several times over;
    `where` `[steps][per_step]` and `starts` `[blocks + 1]`, if zeros are left out."""


def pack_codes(
    weight: Bytes,
    block: int,
    *,
    is_quads: bool,
    sparse: bool | None = None,
    bits: int | None = None,
) -> Codes:
    """Pack `[outputs, inputs]` in codes of `bits`, or of as few as there can be.

    Zeros are left out where that pays, or as asked.
    """
    shape = code_shape(weight, block, is_quads=is_quads, sparse=sparse, bits=bits)
    cells, arrays = _cells(weight, block, is_quads=is_quads), Arrays()
    if shape.is_sparse:
        cells, arrays = _kept(cells, _flags(cells), shape.per_step)
    else:
        missing = -cells.shape[1] % shape.per_step
        cells = np.pad(cells, ((0, 0), (0, missing), (0, 0), (0, 0)))
        cells = cells.reshape(-1, *cells.shape[2:])
    return Codes(shape, {**_encode(cells, shape), **arrays})


def code_shape(
    weight: Bytes,
    block: int,
    *,
    is_quads: bool,
    sparse: bool | None = None,
    bits: int | None = None,
) -> CodeShape:
    """What `pack_codes` makes, without making it."""
    cells = _cells(weight, block, is_quads=is_quads)
    bits = bits or bits_of(weight)
    per_step = 8 // bits * (1 if is_quads else QUAD)
    whole = -(-cells.shape[1] // per_step) * per_step
    counts = -(-_flags(cells).sum(1) // per_step) * per_step
    if sparse is None:
        size = block * cells.shape[3] * bits / 8
        rest = int(counts.sum()) * (size + INDEX_BYTES)
        sparse = rest < WORTH * whole * len(cells) * size
    steps = int(counts.sum()) // per_step if sparse else 0
    inputs = -(-weight.shape[1] // QUAD) if is_quads else weight.shape[1]
    return CodeShape(len(weight), inputs, block, bits, is_quads, steps)


def _flags(cells: Bytes) -> npt.NDArray[np.bool_]:
    """Which inputs each block keeps, if zeros are left out."""
    # In the order of memory, by whole rows.
    rows = np.bitwise_or.reduce(cells.swapaxes(1, 2), axis=1)
    return np.asarray(rows.any(axis=-1), np.bool_)


def bits_of(weight: Bytes) -> int:
    """The fewest bits that tell all values of a weight and 0 apart."""
    count = len(values_of(weight))
    return next(bits for bits in CODE_BITS if count <= 1 << bits)


def values_of(weight: Bytes) -> Bytes:
    """All values of a weight, and 0, in order."""
    seen = np.zeros(VALUES, np.bool_)
    seen[0] = True
    flat = np.ascontiguousarray(weight).view(np.uint8).reshape(-1)
    for start in range(0, flat.size, PART):
        seen[flat[start : start + PART]] = True
    signed = np.arange(-VALUES // 2, VALUES // 2, dtype=np.int8)
    return signed[seen[signed.view(np.uint8)]]


def _cells(weight: Bytes, block: int, *, is_quads: bool) -> Bytes:
    """`[blocks, inputs of the loop, block, 4 or 1]`; what is missing is 0."""
    outputs, inputs = weight.shape
    size = QUAD if is_quads else 1
    padded = np.zeros((-(-outputs // block) * block, -(-inputs // size) * size), "i1")
    padded[:outputs, :inputs] = weight
    return padded.reshape(-1, block, padded.shape[1] // size, size).swapaxes(1, 2)


def _kept(
    cells: Bytes, kept: npt.NDArray[np.bool_], per_step: int
) -> tuple[Bytes, Arrays]:
    """The inputs that each block keeps, filled up to whole steps with zeros."""
    found: list[Bytes] = []
    where: list[Ints] = []
    starts = [0]
    for own, flags in zip(cells, kept, strict=True):
        places = np.flatnonzero(flags).astype(np.int32)
        missing = -len(places) % per_step
        found.append(np.pad(own[places], ((0, missing), (0, 0), (0, 0))))
        where.append(np.pad(places, (0, missing), mode="edge") if missing else places)
        starts.append(starts[-1] + len(found[-1]) // per_step)
    tables: Arrays = {
        "where": np.concatenate(where),
        "starts": np.array(starts, np.int32),
    }
    return np.concatenate(found), tables


def _encode(cells: Bytes, shape: CodeShape) -> Arrays:
    """`w` and `table` of cells `[inputs, block, 4 or 1]`."""
    steps, parts = shape.total_steps, shape.parts
    if shape.is_quads:
        quads = cells.reshape(steps, parts, shape.block, QUAD)
    else:
        quads = cells.reshape(steps, parts, QUAD, shape.block).swapaxes(2, 3)
    if shape.bits == 8:
        return {"w": np.ascontiguousarray(quads).view("<i4").reshape(-1)}
    values = values_of(cells)
    code_of = np.zeros(VALUES, np.uint8)
    code_of[values.view(np.uint8)] = np.arange(len(values))
    index = code_of[quads.view(np.uint8)]
    w = np.zeros((steps, shape.block, QUAD), np.uint8)
    for part in range(parts):
        w |= index[:, part] << (part * shape.bits)
    known = np.zeros(1 << shape.bits, np.int8)
    known[: len(values)] = values
    fields = np.arange(TABLE_BYTES) >> np.arange(0, 4, shape.bits)[:, None]
    tables = known[fields % len(known)].view("<i4")
    return {
        "w": w.view("<i4").reshape(-1),
        "table": np.tile(tables, TABLE_COPIES).reshape(-1),
    }


def are_pairs_bounded(weight: Bytes) -> bool:
    """Whether no two weights that are multiplied together sum to more than 128."""
    return bool(weight.min(initial=0) >= -64 and weight.max(initial=0) <= 64)
