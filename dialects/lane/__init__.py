"""`lane`: kernels as loop nests over lanes, and the program that launches them.

Made by `convert-to-lane`; left by code generation. A *lane* is one 32-bit position of
a vector register; a buffer is a flat `memref<…xf32>` and an address is `base[index]`
plus a constant `offset`, all in elements. Control flow and index arithmetic are
upstream `scf` and `arith`. Loads are ops of their own, so that
`load-redundancy-elimination` can see which of them read the same address.

A kernel is a `func.func` whose first two arguments are the thread's number and the
number of threads; it does its share of the work. `@main` launches kernels one after the
other; every launch ends with a barrier. A buffer that a kernel writes overlaps no other
buffer of its launch, and what one thread writes no other one reads, unless they meet in
between (`lane.barrier`).

The arguments of `@main` are the inputs, then the outputs of the model, each a flat
buffer in row-major order. Its attributes `edgec.inputs` and `edgec.outputs` are arrays
of their tensor types, so that a lowered module is called like the one it was made from:

    func.func @main(%x: memref<6xf32>, %y: memref<6xf32>) attributes {
      edgec.inputs = [tensor<2x3xf32>], edgec.outputs = [tensor<1x6xf32>]} { … }

A whole program:

    func.func @relu(%thread: index, %threads: index, %x: memref<64xf32>,
                    %y: memref<64xf32>) {
      %begin = arith.constant 0 : index
      %end = arith.constant 64 : index
      %step = arith.constant 16 : index
      scf.for %i = %begin to %end step %step {
        %v = lane.load %x[%i] : memref<64xf32>, vector<16xf32>
        %r = lane.unary relu %v : vector<16xf32>
        lane.store %r, %y[%i] : vector<16xf32>, memref<64xf32>
      }
      func.return
    }
    func.func @main(%x: memref<64xf32>, %y: memref<64xf32>) {
      lane.launch @relu(%x, %y) : memref<64xf32>, memref<64xf32>
      func.return
    }
"""

from __future__ import annotations

from xdsl.ir import Dialect

from edgec.dialects.lane.base import (
    AccessOp,
    Buffer,
    buffer_type,
    element_of,
    lanes_of,
    vector,
    width_of,
)
from edgec.dialects.lane.codes import (
    BYTE_TABLE_LANES,
    BYTE_VALUES,
    TABLE_BYTES,
    TABLE_LANES,
    DecodeQuadsOp,
    LookUpBytesOp,
)
from edgec.dialects.lane.memory import LoadMaskOp, LoadOp, PrefetchOp, StoreOp
from edgec.dialects.lane.pairs import DotPairsOp, PackPairsOp, UnpackPairsOp
from edgec.dialects.lane.program import BufferOp, LaunchOp, ScratchOp, WeightsOp
from edgec.dialects.lane.quads import (
    PAIR_BOUND,
    QUAD,
    DotQuadsOp,
    DotWordsOp,
    MaxQuadsOp,
    MinQuadsOp,
    PackQuadsOp,
    TransposeQuadsOp,
    UnpackQuadsOp,
)
from edgec.dialects.lane.shuffles import ConcatOp, DeinterleaveOp, SliceOp
from edgec.dialects.lane.tiles import (
    TILE_LANES,
    TILE_ROWS,
    TILES,
    TileAccessOp,
    TileConfigureOp,
    TileDotOp,
    TileDotPairsOp,
    TileLoadOp,
    TileReleaseOp,
    TileStoreOp,
    TileZeroOp,
)
from edgec.dialects.lane.values import (
    BinaryOp,
    CastOp,
    CompareKind,
    CompareKindAttr,
    CompareOp,
    ConstantOp,
    DotOp,
    FoldKind,
    FoldKindAttr,
    FoldOp,
    IndexOp,
    SelectOp,
    SplatOp,
    TailMaskOp,
    UnaryOp,
)
from edgec.dialects.lane.work import BarrierOp, ForUnitsOp

LANE = Dialect(
    "lane",
    [
        LoadOp,
        StoreOp,
        PrefetchOp,
        SplatOp,
        ConstantOp,
        DotOp,
        UnaryOp,
        BinaryOp,
        TailMaskOp,
        LoadMaskOp,
        SelectOp,
        FoldOp,
        ConcatOp,
        DeinterleaveOp,
        SliceOp,
        IndexOp,
        CompareOp,
        CastOp,
        DotQuadsOp,
        DotWordsOp,
        PackQuadsOp,
        TransposeQuadsOp,
        UnpackQuadsOp,
        MaxQuadsOp,
        MinQuadsOp,
        DecodeQuadsOp,
        LookUpBytesOp,
        DotPairsOp,
        PackPairsOp,
        UnpackPairsOp,
        TileConfigureOp,
        TileReleaseOp,
        TileZeroOp,
        TileLoadOp,
        TileStoreOp,
        TileDotOp,
        TileDotPairsOp,
        BufferOp,
        ScratchOp,
        WeightsOp,
        LaunchOp,
        ForUnitsOp,
        BarrierOp,
    ],
    [FoldKindAttr, CompareKindAttr],
)

__all__ = [
    "BYTE_TABLE_LANES",
    "BYTE_VALUES",
    "LANE",
    "PAIR_BOUND",
    "QUAD",
    "TABLE_BYTES",
    "TABLE_LANES",
    "TILES",
    "TILE_LANES",
    "TILE_ROWS",
    "AccessOp",
    "BarrierOp",
    "BinaryOp",
    "Buffer",
    "BufferOp",
    "CastOp",
    "CompareKind",
    "CompareKindAttr",
    "CompareOp",
    "ConcatOp",
    "ConstantOp",
    "DecodeQuadsOp",
    "DeinterleaveOp",
    "DotOp",
    "DotPairsOp",
    "DotQuadsOp",
    "DotWordsOp",
    "FoldKind",
    "FoldKindAttr",
    "FoldOp",
    "ForUnitsOp",
    "IndexOp",
    "LaunchOp",
    "LoadMaskOp",
    "LoadOp",
    "LookUpBytesOp",
    "MaxQuadsOp",
    "MinQuadsOp",
    "PackPairsOp",
    "PackQuadsOp",
    "PrefetchOp",
    "ScratchOp",
    "SelectOp",
    "SliceOp",
    "SplatOp",
    "StoreOp",
    "TailMaskOp",
    "TileAccessOp",
    "TileConfigureOp",
    "TileDotOp",
    "TileDotPairsOp",
    "TileLoadOp",
    "TileReleaseOp",
    "TileStoreOp",
    "TileZeroOp",
    "TransposeQuadsOp",
    "UnaryOp",
    "UnpackPairsOp",
    "UnpackQuadsOp",
    "WeightsOp",
    "buffer_type",
    "element_of",
    "lanes_of",
    "vector",
    "width_of",
]
