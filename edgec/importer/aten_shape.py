"""Rules for ops that move elements and compute nothing; int64 is fine here, too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from xdsl.ir import SSAValue

from edgec.dialects import nn
from edgec.importer.builder import Builder, axis_of
from edgec.importer.problems import Unsupported

Pieces = tuple[SSAValue, ...]


def _reshape(b: Builder, self: SSAValue, *rest: object, **more: object) -> SSAValue:
    """Any op that keeps the row-major order: torch has worked out the shape."""
    return b.reshape(self, b.shape)


def _permute(b: Builder, self: SSAValue, dims: Sequence[int]) -> SSAValue:
    rank = len(nn.shape_of(self))
    return b.transpose(self, [axis_of(dim, rank) for dim in dims])


def _transpose(b: Builder, self: SSAValue, dim0: int, dim1: int) -> SSAValue:
    rank = len(nn.shape_of(self))
    order = list(range(rank))
    if rank:
        one, two = axis_of(dim0, rank), axis_of(dim1, rank)
        order[one], order[two] = order[two], order[one]
    return b.transpose(self, order)


def _reversed(b: Builder, self: SSAValue) -> SSAValue:
    return b.transpose(self, list(reversed(range(len(nn.shape_of(self))))))


def _matrix_transpose(b: Builder, self: SSAValue) -> SSAValue:
    return _transpose(b, self, -2, -1)


def _move_axes(
    b: Builder, self: SSAValue, source: Sequence[int], destination: Sequence[int]
) -> SSAValue:
    rank = len(nn.shape_of(self))
    old = [axis_of(dim, rank) for dim in source]
    new = [axis_of(dim, rank) for dim in destination]
    others = iter(dim for dim in range(rank) if dim not in old)
    order = [old[new.index(dim)] if dim in new else next(others) for dim in range(rank)]
    return b.transpose(self, order)


def _move_axis(b: Builder, self: SSAValue, source: int, destination: int) -> SSAValue:
    return _move_axes(b, self, [source], [destination])


def _cat(b: Builder, tensors: Sequence[SSAValue], dim: int = 0) -> SSAValue:
    # torch still takes empty vectors among tensors of any rank.
    parts = [b.cast(value) for value in tensors if nn.shape_of(value) != (0,)]
    return b.concat(parts, axis_of(dim, len(b.shape)))


def _stack(b: Builder, tensors: Sequence[SSAValue], dim: int = 0) -> SSAValue:
    axis = axis_of(dim, len(b.shape))
    shape = (*b.shape[:axis], 1, *b.shape[axis + 1 :])
    return b.concat([b.reshape(b.cast(value), shape) for value in tensors], axis)


def _split_sizes(
    b: Builder, self: SSAValue, split_sizes: Sequence[int], dim: int = 0
) -> Pieces:
    axis = axis_of(dim, len(nn.shape_of(self)))
    pieces: list[SSAValue] = []
    start = 0
    for size in split_sizes:
        pieces.append(b.slice(self, axis, start, size))
        start += size
    return tuple(pieces)


def _split(b: Builder, self: SSAValue, split_size: int, dim: int = 0) -> Pieces:
    shape = nn.shape_of(self)
    total = shape[axis_of(dim, len(shape))]
    starts = range(0, total, split_size)
    return _split_sizes(b, self, [min(split_size, total - s) for s in starts], dim)


def _chunk(b: Builder, self: SSAValue, chunks: int, dim: int = 0) -> Pieces:
    shape = nn.shape_of(self)
    total = shape[axis_of(dim, len(shape))]
    return _split(b, self, -(-total // chunks), dim)


def _tensor_split(b: Builder, self: SSAValue, sections: int, dim: int = 0) -> Pieces:
    shape = nn.shape_of(self)
    small, larger = divmod(shape[axis_of(dim, len(shape))], sections)
    sizes = [small + (i < larger) for i in range(sections)]
    return _split_sizes(b, self, sizes, dim)


def _slice(
    b: Builder,
    self: SSAValue,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> SSAValue:
    shape = nn.shape_of(self)
    axis = axis_of(dim, len(shape))
    positions = range(shape[axis])[start:end:step]
    if not positions:
        raise Unsupported("the slice is empty", "leave it out")
    return b.slice(self, axis, positions.start, len(positions), step)


def _narrow(b: Builder, self: SSAValue, dim: int, start: int, length: int) -> SSAValue:
    shape = nn.shape_of(self)
    axis = axis_of(dim, len(shape))
    return b.slice(self, axis, axis_of(start, shape[axis]), length)


def _select(b: Builder, self: SSAValue, dim: int, index: int) -> SSAValue:
    shape = nn.shape_of(self)
    axis = axis_of(dim, len(shape))
    one = b.slice(self, axis, axis_of(index, shape[axis]), 1)
    return b.reshape(one, b.shape)


def _unbind(b: Builder, self: SSAValue, dim: int = 0) -> Pieces:
    shape = nn.shape_of(self)
    axis = axis_of(dim, len(shape))
    rest = (*shape[:axis], *shape[axis + 1 :])
    return tuple(b.reshape(b.slice(self, axis, i, 1), rest) for i in range(shape[axis]))


def _expand(
    b: Builder, self: SSAValue, size: Sequence[int], *, implicit: bool = False
) -> SSAValue:
    return b.broadcast(self, b.shape)


def _expand_as(b: Builder, self: SSAValue, other: SSAValue) -> SSAValue:
    return b.broadcast(self, b.shape)


def _repeat(b: Builder, self: SSAValue, repeats: Sequence[int]) -> SSAValue:
    """Each dimension gets a repeated one in front: `[d]` to `[r, d]` to `[r d]`."""
    shape = nn.shape_of(self)
    count = len(b.shape)
    sizes = [1] * (count - len(shape)) + list(shape)
    times = [1] * (count - len(repeats)) + list(repeats)
    spaced = [n for size in sizes for n in (1, size)]
    wide = [n for pair in zip(times, sizes, strict=True) for n in pair]
    return b.reshape(b.broadcast(b.reshape(self, spaced), wide), b.shape)


def _repeat_interleave(
    b: Builder,
    self: SSAValue,
    repeats: int,
    dim: int | None = None,
    *,
    output_size: int | None = None,
) -> SSAValue:
    shape = nn.shape_of(self)
    if dim is None:
        shape = (sum(b.shape) // repeats,)
    axis = axis_of(dim or 0, len(shape))
    narrow = (*shape[: axis + 1], 1, *shape[axis + 1 :])
    wide = (*shape[: axis + 1], repeats, *shape[axis + 1 :])
    return b.reshape(b.broadcast(b.reshape(self, narrow), wide), b.shape)


def _roll(
    b: Builder, self: SSAValue, shifts: Sequence[int], dims: Sequence[int] = ()
) -> SSAValue:
    shape = nn.shape_of(self)
    if not dims:
        flat = b.reshape(self, (math.prod(shape),))
        return b.reshape(_rolled(b, flat, 0, shifts[0]), shape)
    for shift, dim in zip(shifts, dims, strict=True):
        self = _rolled(b, self, axis_of(dim, len(shape)), shift)
    return self


def _rolled(b: Builder, x: SSAValue, axis: int, shift: int) -> SSAValue:
    size = nn.shape_of(x)[axis]
    shift %= size
    if not shift:
        return x
    tail = b.slice(x, axis, size - shift, shift)
    return b.concat([tail, b.slice(x, axis, 0, size - shift)], axis)


def _pad(
    b: Builder,
    self: SSAValue,
    pad: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> SSAValue:
    if mode == "circular":
        return _pad_circular(b, self, pad)
    rank = len(nn.shape_of(self))
    low, high = _pad_widths(pad, rank)
    return b.emit(nn.PadOp(mode, self, low, high, float(value or 0.0)))


def _pad_widths(pad: Sequence[int], rank: int) -> tuple[list[int], list[int]]:
    """Widths per dimension; torch lists pairs from the last dimension backwards."""
    missing = [0] * (rank - len(pad) // 2)
    return missing + list(pad[-2::-2]), missing + list(pad[::-2])


def _pad_circular(b: Builder, self: SSAValue, pad: Sequence[int]) -> SSAValue:
    low, high = _pad_widths(pad, len(nn.shape_of(self)))
    for axis, (before, after) in enumerate(zip(low, high, strict=True)):
        size = nn.shape_of(self)[axis]
        first, last = max(-before, 0), size - max(-after, 0)
        middle = b.slice(self, axis, first, last - first)
        parts = [middle]
        if before > 0:
            parts.insert(0, b.slice(self, axis, size - before, before))
        if after > 0:
            parts.append(b.slice(self, axis, 0, after))
        self = b.concat(parts, axis)
    return self


def _pad_of(mode: str) -> Callable[[Builder, SSAValue, Sequence[int]], SSAValue]:
    def build(b: Builder, self: SSAValue, padding: Sequence[int]) -> SSAValue:
        return _pad(b, self, padding, mode)

    return build


def _pad_constant(
    b: Builder, self: SSAValue, pad: Sequence[int], value: float = 0
) -> SSAValue:
    return _pad(b, self, pad, "constant", value)


_RESHAPES = (
    "reshape.default",
    "view.default",
    "_unsafe_view.default",
    "_reshape_copy.default",
    "view_as.default",
    "reshape_as.default",
    "flatten.using_ints",
    "unflatten.int",
    "ravel.default",
    "squeeze.default",
    "squeeze.dim",
    "squeeze.dims",
    "unsqueeze.default",
    "atleast_1d.default",
    "atleast_2d.default",
)

RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(_RESHAPES, _reshape),
    "permute.default": _permute,
    "transpose.int": _transpose,
    "swapaxes.default": _transpose,
    "swapdims.default": _transpose,
    "t.default": _reversed,
    "numpy_T.default": _reversed,
    "mT.default": _matrix_transpose,
    "movedim.intlist": _move_axes,
    "movedim.int": _move_axis,
    "cat.default": _cat,
    "concat.default": _cat,
    "stack.default": _stack,
    "split.Tensor": _split,
    "split.sizes": _split_sizes,
    "split_with_sizes.default": _split_sizes,
    "unsafe_split.Tensor": _split,
    "chunk.default": _chunk,
    "unsafe_chunk.default": _chunk,
    "tensor_split.sections": _tensor_split,
    "slice.Tensor": _slice,
    "narrow.default": _narrow,
    "select.int": _select,
    "unbind.int": _unbind,
    "expand.default": _expand,
    "expand_as.default": _expand_as,
    "repeat.default": _repeat,
    "tile.default": _repeat,
    "repeat_interleave.self_int": _repeat_interleave,
    "roll.default": _roll,
    "pad.default": _pad,
    "constant_pad_nd.default": _pad_constant,
    **{f"reflection_pad{n}d.default": _pad_of("reflect") for n in (1, 2, 3)},
    **{f"replication_pad{n}d.default": _pad_of("replicate") for n in (1, 2, 3)},
}
