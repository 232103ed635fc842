"""Rules for pooling."""

# A rule takes the arguments of its overload, however many these are.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xdsl.ir import SSAValue

from edgec.dialects import nn
from edgec.importer.builder import Builder, spread

Ints = int | Sequence[int]


def _max_pool(rank: int) -> Callable[..., SSAValue]:
    def build(
        b: Builder,
        self: SSAValue,
        kernel_size: Ints,
        stride: Ints = (),
        padding: Ints = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
    ) -> SSAValue:
        kernel = spread(kernel_size, rank)
        return _batched(
            b,
            self,
            rank,
            lambda x: nn.PoolOp(
                "max",
                x,
                kernel=kernel,
                stride=spread(stride, rank) or kernel,
                padding=spread(padding, rank),
                dilation=spread(dilation, rank),
                ceil_mode=ceil_mode,
            ),
        )

    return build


def _max_pool_with_positions(rank: int) -> Callable[..., tuple[SSAValue, None]]:
    pool = _max_pool(rank)

    def build(
        b: Builder,
        self: SSAValue,
        kernel_size: Ints,
        stride: Ints = (),
        padding: Ints = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
    ) -> tuple[SSAValue, None]:
        y = pool(b, self, kernel_size, stride, padding, dilation, ceil_mode)
        return y, None

    return build


def _avg_pool(rank: int) -> Callable[..., SSAValue]:
    def build(
        b: Builder,
        self: SSAValue,
        kernel_size: Ints,
        stride: Ints = (),
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> SSAValue:
        kernel = spread(kernel_size, rank)
        return _batched(
            b,
            self,
            rank,
            lambda x: nn.PoolOp(
                "avg",
                x,
                kernel=kernel,
                stride=spread(stride, rank) or kernel,
                padding=spread(padding, rank),
                dilation=[1] * rank,
                ceil_mode=ceil_mode,
                count_include_pad=count_include_pad,
                divisor=divisor_override or 0,
            ),
        )

    return build


def _adaptive_avg(rank: int) -> Callable[..., SSAValue]:
    def build(b: Builder, self: SSAValue, output_size: Sequence[int]) -> SSAValue:
        size = spread(output_size, rank)
        return _batched(b, self, rank, lambda x: nn.AdaptivePoolOp("avg", x, size))

    return build


def _adaptive_max(rank: int) -> Callable[..., tuple[SSAValue, None]]:
    def build(
        b: Builder, self: SSAValue, output_size: Sequence[int]
    ) -> tuple[SSAValue, None]:
        size = spread(output_size, rank)
        y = _batched(b, self, rank, lambda x: nn.AdaptivePoolOp("max", x, size))
        return y, None

    return build


def _batched(
    b: Builder,
    x: SSAValue,
    rank: int,
    make: Callable[[SSAValue], nn.PoolOp | nn.AdaptivePoolOp],
) -> SSAValue:
    """The op that `make` makes, with a batch dimension of 1 where `x` has none."""
    shape = nn.shape_of(x)
    if len(shape) == rank + 2:
        return b.emit(make(x))
    y = b.emit(make(b.reshape(x, (1, *shape))))
    return b.reshape(y, nn.shape_of(y)[1:])


RULES: dict[str, Callable[..., Any]] = {
    **{f"max_pool{n}d.default": _max_pool(n) for n in (1, 2, 3)},
    **{
        f"max_pool{n}d_with_indices.default": _max_pool_with_positions(n)
        for n in (2, 3)
    },
    **{f"avg_pool{n}d.default": _avg_pool(n) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d.default": _adaptive_avg(n) for n in (1, 2, 3)},
    **{f"_adaptive_avg_pool{n}d.default": _adaptive_avg(n) for n in (2, 3)},
    **{f"adaptive_max_pool{n}d.default": _adaptive_max(n) for n in (1, 2, 3)},
    "max_pool1d_with_indices.default": _max_pool_with_positions(1),
}
