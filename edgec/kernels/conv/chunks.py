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
    """The chunks of one plane of the result."""

    tiles: int
    """Full tiles of the plane."""
    tile: int
    """Positions of a tile."""
    size: int
    """Tiles of a chunk, about, where slices are cut in equal parts."""
    slices: int
    """Slices that are computed together; 1 for a window without depth."""
    slab: int
    """Positions from one slice to the next."""

    @classmethod
    def of(cls, result: Layout, reach: int, tile: int, size: int) -> Chunks:
        """Chunks for a window whose taps are at most `reach` positions apart."""
        slab = result.slab * result.pitch
        tiles = result.rows * result.pitch // tile
        slices = result.slices if reach >= slab else 1
        return cls(tiles, tile, size, slices, slab)

    @property
    def parts(self) -> int:
        """Of a slice, or of the whole plane where slices are not told apart."""
        tiles = self.tiles if self.slices == 1 else self.slab // self.tile
        return max(1, -(-tiles // self.size))

    @property
    def count(self) -> int:
        """Number of chunks."""
        return self.parts * self.slices

    def bounds(self, b: KernelBuilder, chunk: Index) -> tuple[Index, Index]:
        """First tile of a chunk, and the the one after its last."""
        if self.slices == 1:
            begin = b.times(chunk, self.size)
            return begin, b.smaller(b.plus(begin, self.size), self.tiles)
        part, slice_ = b.quotient(chunk, self.slices), b.remainder(chunk, self.slices)
        number = b.plus(b.times(slice_, self.parts), part)

        def start(of: Index) -> Index:
            at = b.quotient(b.times(of, self.slab), self.parts * self.tile)
            return b.smaller(at, self.tiles)

        return start(number), start(b.plus(number, 1))
