"""Result shapes of `nn` ops, as pure functions on tuples of ints.

One function per family of ops. Builders call them to make result types, verifiers
call them to check result types, so both can never disagree. Every function raises
`ShapeError` with a message that says what must hold and what was found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Shape = tuple[int, ...]


class ShapeError(ValueError):
    """The operands of an op do not fit each other; the message says why."""


def broadcast(*shapes: Sequence[int]) -> Shape:
    """The common shape under numpy's broadcasting rules."""
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    result: list[int] = []
    for sizes in zip(*padded, strict=True):
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            raise ShapeError(
                f"shapes must broadcast together, got {[tuple(s) for s in shapes]}"
            )
        result.append(wide.pop() if wide else 1)
    return tuple(result)


def window(
    size: int, kernel: int, stride: int, low: int, high: int, dilation: int
) -> int:
    """Number of windows along one spatial dimension, rounding down."""
    reach = dilation * (kernel - 1) + 1
    extended = size + low + high
    if extended < reach:
        raise ShapeError(
            f"a window of {reach} positions must fit into the padded size, "
            f"got {size} + {low} + {high}"
        )
    return (extended - reach) // stride + 1


def convolution(
    data: Sequence[int],
    weight: Sequence[int],
    *,
    stride: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Shape:
    """`[N, C, *S]` and `[F, C/groups, *K]` to `[N, F, *S']`."""
    check_convolution(data, weight, groups)
    check_spatial(data, "stride", stride, least=1)
    check_spatial(data, "padding_low", low, least=0)
    check_spatial(data, "padding_high", high, least=0)
    check_spatial(data, "dilation", dilation, least=1)
    if data[1] != weight[1] * groups:
        raise ShapeError(
            f"input channels must be {weight[1]} x {groups} groups, got {data[1]}"
        )
    if weight[0] % groups:
        raise ShapeError(f"filters must divide by {groups} groups, got {weight[0]}")
    spatial = map(window, data[2:], weight[2:], stride, low, high, dilation)
    return (data[0], weight[0], *spatial)


def transposed_convolution(
    data: Sequence[int],
    weight: Sequence[int],
    *,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Shape:
    """`[N, C, *S]` and `[C, F/groups, *K]` to `[N, F, *S']`."""
    check_convolution(data, weight, groups)
    check_spatial(data, "stride", stride, least=1)
    check_spatial(data, "padding", padding, least=0)
    check_spatial(data, "output_padding", output_padding, least=0)
    check_spatial(data, "dilation", dilation, least=1)
    if data[1] != weight[0] or data[1] % groups:
        raise ShapeError(
            f"input channels must be {weight[0]} and divide by {groups} groups, "
            f"got {data[1]}"
        )
    spatial = tuple(
        (size - 1) * s - 2 * p + d * (k - 1) + o + 1
        for size, k, s, p, o, d in zip(
            data[2:], weight[2:], stride, padding, output_padding, dilation, strict=True
        )
    )
    if min(spatial) < 1:
        raise ShapeError(f"the result must not be empty, got {spatial}")
    return (data[0], weight[1] * groups, *spatial)


def check_convolution(data: Sequence[int], weight: Sequence[int], groups: int) -> None:
    """Ranks agree, no dimension of the weight is empty, groups are positive."""
    if len(data) != len(weight) or not 3 <= len(data) <= 5:
        raise ShapeError(
            "input and weight must both have rank 3, 4 or 5, "
            f"got {len(data)} and {len(weight)}"
        )
    if min(weight) < 1:
        raise ShapeError(f"weight must not be empty, got {tuple(weight)}")
    if groups < 1:
        raise ShapeError(f"groups must be at least 1, got {groups}")


def pool(
    data: Sequence[int],
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> Shape:
    """`[N, C, *S]` to `[N, C, *S']` with torch's rules for the last window."""
    if not 3 <= len(data) <= 5:
        raise ShapeError(f"input must have rank 3, 4 or 5, got {len(data)}")
    for name, values, least in (
        ("kernel", kernel, 1),
        ("stride", stride, 1),
        ("padding", padding, 0),
        ("dilation", dilation, 1),
    ):
        check_spatial(data, name, values, least=least)
    spatial = tuple(
        pool_windows(*sizes, ceil_mode=ceil_mode)
        for sizes in zip(data[2:], kernel, stride, padding, dilation, strict=True)
    )
    return (*data[:2], *spatial)


def pool_windows(
    size: int,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    *,
    ceil_mode: bool,
) -> int:
    """Number of pooling windows along one dimension.

    With `ceil_mode` the last window may reach over the end of the padded input, but
    only if it starts inside the input or its low padding.
    """
    reach = dilation * (kernel - 1) + 1
    if padding > reach // 2:
        raise ShapeError(
            f"padding must be at most half of the window's {reach} positions, "
            f"got {padding}"
        )
    room = size + 2 * padding - reach + (stride - 1 if ceil_mode else 0)
    count = room // stride + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    if count < 1:
        raise ShapeError(
            f"a window of {reach} positions must fit into the padded size, "
            f"got {size} + {padding} + {padding}"
        )
    return count


def check_spatial(
    data: Sequence[int], name: str, values: Sequence[int], *, least: int
) -> None:
    """`values` has one entry per spatial dimension of `data`, none below `least`."""
    if len(values) != len(data) - 2:
        raise ShapeError(
            f"{name} must have {len(data) - 2} entries, got {tuple(values)}"
        )
    if any(value < least for value in values):
        raise ShapeError(f"{name} must be at least {least}, got {tuple(values)}")


def matmul(lhs: Sequence[int], rhs: Sequence[int]) -> Shape:
    """`[..., M, K]` and `[..., K, N]` to `[..., M, N]`, batch dimensions broadcast."""
    if len(lhs) < 2 or len(rhs) < 2 or lhs[-1] != rhs[-2]:
        raise ShapeError(
            "operands must be [..., M, K] and [..., K, N], "
            f"got {tuple(lhs)}, {tuple(rhs)}"
        )
    return (*broadcast(lhs[:-2], rhs[:-2]), lhs[-2], rhs[-1])


def flattened(data: Sequence[int]) -> Shape:
    """`[N, ...]` to `[N, K]`, with at least one dimension after the first."""
    if len(data) < 2:
        raise ShapeError(f"rank must be at least 2, got {tuple(data)}")
    return (data[0], math.prod(data[1:]))


def linear(data: Sequence[int], weight: Sequence[int]) -> Shape:
    """`[..., K]` and `[N, K]` to `[..., N]`."""
    if not data or len(weight) != 2 or data[-1] != weight[1]:
        raise ShapeError(
            "input and weight must be [..., K] and [N, K], "
            f"got {tuple(data)}, {tuple(weight)}"
        )
    return (*data[:-1], weight[0])


def recurrent(gates: Sequence[int], weight: Sequence[int], count: int) -> Shape:
    """`[T, N, G H]` and `[G H, H]` with `count` gates to `[T, N, H]`."""
    fits = len(gates) == 3 and len(weight) == 2 and min(*gates, *weight) > 0
    if not fits or not gates[2] == weight[0] == count * weight[1]:
        raise ShapeError(
            f"gates and weight must be [T, N, {count} H] and [{count} H, H], "
            f"got {tuple(gates)}, {tuple(weight)}"
        )
    return (gates[0], gates[1], weight[1])


def reduce(data: Sequence[int], axes: Sequence[int], *, keep_dims: bool) -> Shape:
    """The shape after reducing over `axes` (all in range, not negative)."""
    check_axes(data, axes)
    if keep_dims:
        return tuple(1 if i in axes else size for i, size in enumerate(data))
    return tuple(size for i, size in enumerate(data) if i not in axes)


def transpose(data: Sequence[int], permutation: Sequence[int]) -> Shape:
    """Dimension `i` of the result is dimension `permutation[i]` of the input."""
    if sorted(permutation) != list(range(len(data))):
        raise ShapeError(
            f"permutation must have each of 0..{len(data) - 1} once, "
            f"got {tuple(permutation)}"
        )
    return tuple(data[i] for i in permutation)


def concat(shapes: Sequence[Sequence[int]], axis: int) -> Shape:
    """All shapes agree but for `axis`, along which sizes add up."""
    check_axes(shapes[0], (axis,))
    first = tuple(shapes[0])
    for shape in shapes:
        if len(shape) != len(first) or any(
            a != b
            for i, (a, b) in enumerate(zip(shape, first, strict=True))
            if i != axis
        ):
            raise ShapeError(
                f"shapes must agree but for axis {axis}, "
                f"got {[tuple(s) for s in shapes]}"
            )
    total = sum(shape[axis] for shape in shapes)
    return (*first[:axis], total, *first[axis + 1 :])


def slice_(
    data: Sequence[int],
    starts: Sequence[int],
    sizes: Sequence[int],
    steps: Sequence[int],
) -> Shape:
    """`sizes`, after a check that every slice stays inside `data`."""
    if not len(data) == len(starts) == len(sizes) == len(steps):
        raise ShapeError(
            f"slice must have {len(data)} starts, sizes and steps, "
            f"got {len(starts)}, {len(sizes)} and {len(steps)}"
        )
    for size, start, count, step in zip(data, starts, sizes, steps, strict=True):
        if step < 1 or start < 0 or count < 0 or start + (count - 1) * step >= size:
            raise ShapeError(
                f"slice must stay inside {tuple(data)}, got starts {tuple(starts)}, "
                f"sizes {tuple(sizes)}, steps {tuple(steps)}"
            )
    return tuple(sizes)


def pad(data: Sequence[int], low: Sequence[int], high: Sequence[int]) -> Shape:
    """Sizes grow by `low + high`; negative entries crop."""
    if not len(data) == len(low) == len(high):
        raise ShapeError(
            f"low and high must have {len(data)} entries, "
            f"got {len(low)} and {len(high)}"
        )
    result = tuple(a + b + c for a, b, c in zip(data, low, high, strict=True))
    if result and min(result) < 0:
        raise ShapeError(f"pad must not make a size negative, got {result}")
    return result


def check_reflection(
    data: Sequence[int], low: Sequence[int], high: Sequence[int]
) -> None:
    """A reflection does not need positions that the input does not have."""
    for size, before, after in zip(data, low, high, strict=True):
        if max(before, after) >= max(size, 1):
            raise ShapeError(
                f"reflected pads must be smaller than the size {size}, "
                f"got {before} and {after}"
            )


def reshape(data: Sequence[int], result: Sequence[int]) -> Shape:
    """`result`, after a check that the number of elements is kept."""
    if math.prod(data) != math.prod(result):
        raise ShapeError(
            f"reshape must keep the number of elements, "
            f"got {tuple(data)} to {tuple(result)}"
        )
    return tuple(result)


def check_axes(data: Sequence[int], axes: Sequence[int]) -> None:
    """Every axis lies in `0..rank-1` and stands there once."""
    if len(set(axes)) != len(axes) or any(not 0 <= a < len(data) for a in axes):
        raise ShapeError(
            f"axes must be distinct and in 0..{len(data) - 1}, got {tuple(axes)}"
        )
