"""Chunks: runs of tiles that are computed together, and in which order.

A chunk is as long as its input stays in the level 2 cache while all blocks of filters
pass over it. Without depth, chunks follow each other. A window with depth reads the
slices before and after too; so the same part of all slices is computed slice by slice,
and what it read stays for the next one:

    slice 0:  0 | 4 | 8        the order of chunks, three parts of four slices
    slice 1:  1 | 5 | 9
    slice 2:  2 | 6 | 10
    slice 3:  3 | 7 | 11
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.layout import Layout


@dataclass(frozen=True)
class Chunks:
    """The chunks of one plane of the result; all numbers but counts are positions."""

    tile: int
    """Size of a tile."""
    size: int
    """Size of a chunk, about, where slices are cut in equal parts."""
    parts: int
    """Number of chunks of a slice, or of the whole plane where slices are not told
    apart."""
    end: int
    """Where the last full tile of the last chunk ends."""
    rest: int
    """What follows there in the last chunk, less than a tile."""
    slices: int = 1
    """Slices that are computed together; 1 for a window without depth."""
    slab: int = 0
    """From one slice to the next."""

    @classmethod
    def of(cls, result: Layout, reach: int, tile: int, tiles: int) -> Chunks:
        """Chunks of `tiles` for a window whose taps are at most `reach` apart."""
        slab, positions = result.slab * result.pitch, result.rows * result.pitch
        slices = result.slices if reach >= slab else 1
        whole = positions if slices == 1 else slab
        parts = max(1, -(-(whole // tile) // tiles))
        end = positions // tile * tile
        return cls(tile, tiles * tile, parts, end, positions - end, slices, slab)

    @classmethod
    def of_rows(cls, rows: int, row: int, tile: int, most: int, lanes: int) -> Chunks:
        """Chunks of whole rows of `row` positions, of which there are `rows`.

        Of `most` positions or down to half as many, whatever is the least work; of one
        row at least.
        """
        first, last = (min(rows, max(1, end // row)) for end in (most // 2, most))

        def of_count(count: int) -> Chunks:
            size, parts = count * row, -(-rows // count)
            rest = (rows * row - (parts - 1) * size) % tile
            return cls(tile, size, parts, rows * row - rest, rest)

        sizes = map(of_count, range(last, first - 1, -1))
        return min(sizes, key=lambda chunks: chunks.work(lanes))

    def work(self, lanes: int) -> int:
        """What all positions cost, without depth: registers, and loops around them."""
        before = self.parts - 1
        last = self.end + self.rest - before * self.size
        tiles = -(-last // self.tile) + before * -(-self.size // self.tile)
        return tiles + -(-last // lanes) + before * -(-self.size // lanes)

    @property
    def count(self) -> int:
        """Number of chunks."""
        return self.parts * self.slices

    @property
    def rest_within(self) -> int:
        """What follows the last full tile of each other chunk."""
        return self.size % self.tile if self.slices == 1 else 0

    def bounds(self, b: KernelBuilder, chunk: Index) -> tuple[Index, Index]:
        """Where the full tiles of a chunk begin, and where they end."""
        if self.slices == 1:
            begin = b.times(chunk, self.size)
            full = self.size - self.rest_within
            return begin, b.smaller(b.plus(begin, full), self.end)
        part, slice_ = b.quotient(chunk, self.slices), b.remainder(chunk, self.slices)
        number = b.plus(b.times(slice_, self.parts), part)

        def start(of: Index) -> Index:
            at = b.quotient(b.times(of, self.slab), self.parts * self.tile)
            return b.smaller(b.times(at, self.tile), self.end)

        return start(number), start(b.plus(number, 1))
