"""Convolutions and linear layers as matrices of filters and channels.

What a removed channel or filter means to them: which channels a filter reads, and what
a channel adds to it that holds the same number at all positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn
from edgec.interpreter.arrays import AnyArray
from edgec.passes.analysis.channels import Bools, Channels
from edgec.passes.constants import read_constant

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Product:
    """A convolution or linear layer whose weight and bias are constants.

    A channel's *value* is the number that it holds at all positions, NaN where there is
    no such number. Arrays of channels are `[groups, channels of a group]`, arrays of
    filters `[groups, filters of a group]`.
    """

    op: nn.ConvOp | nn.LinearOp
    weight: AnyArray
    """`[groups, filters, channels, taps]`, both of a group."""
    bias: AnyArray | None

    @property
    def is_padded(self) -> bool:
        """Whether a tap may read a zero that is not the channel's value."""
        if isinstance(self.op, nn.LinearOp):
            return False
        pads = (self.op.padding_low.get_values(), self.op.padding_high.get_values())
        return any(map(any, pads))

    @cached_property
    def used(self) -> Bools:
        """`[groups, filters, channels]`: whether a tap is not zero."""
        return np.asarray(self.weight.any(axis=3), np.bool_)

    def by_channel(self, of_input: npt.NDArray[np.generic]) -> AnyArray:
        """What stands for each channel of the input, by groups."""
        groups, _, channels, _ = self.weight.shape
        return of_input.reshape(groups, channels)

    def by_filter(self, of_result: npt.NDArray[np.generic]) -> AnyArray:
        """What stands for each filter, by groups."""
        return of_result.reshape(self.weight.shape[:2])

    def foldable(self, values: Doubles) -> Bools:
        """Channels that add the same to a filter at all positions: part of its bias."""
        is_known = np.isfinite(values)
        return is_known & (values == 0) if self.is_padded else is_known

    def folded(self, which: Bools, values: Doubles) -> Doubles:
        """What these channels add to each filter's bias."""
        some = np.flatnonzero((which & (values != 0)).any(axis=0))
        chosen = np.where(which, values, 0)[:, some]
        sums = self.weight[:, :, some].sum(axis=3, dtype=np.float64)
        return np.einsum("gfc,gc->gf", sums, chosen)

    def results(self, values: Doubles) -> Doubles:
        """The values of the filters: of those that read no other than foldable ones."""
        foldable = self.foldable(values)
        total = self.folded(foldable, values)
        if self.bias is not None:
            total = total + self.by_filter(self.bias)
        is_known = ~(self.used & ~foldable[:, None]).any(axis=2)
        # The layer rounds what it stores.
        rounded = total.astype(self.weight.dtype).astype(np.float64)
        return np.where(is_known, rounded, np.nan)

    def reads(self, live: Bools, values: Doubles) -> Bools:
        """The channels that live filters need.

        Not those that can be folded into the bias. Of others with a value one is
        enough: the rest are multiples of it, see `merged`.
        """
        read = self._read(live, values)
        multiples = read & np.isfinite(values)
        return (read & ~multiples) | representative(multiples, values)

    def merged(self, live: Bools, removed: Bools, values: Doubles) -> AnyArray:
        """The weight where one channel adds what the removed ones with a value add.

        A channel of value `v` is `v / u` times one of value `u`, at the borders too,
        and so are the weights that stand for it.
        """
        multiples = self._read(live, values) & np.isfinite(values)
        gone = multiples & removed
        if not gone.any():
            return self.weight
        kept = representative(multiples & ~removed, values)
        result = self.weight.copy()
        for group in np.flatnonzero(gone.any(axis=1)):
            (to,), part = np.flatnonzero(kept[group]), gone[group]
            factors = values[group, part] / values[group, to]
            chosen = self.weight[group][:, part]
            result[group, :, to] += np.einsum("fct,c->ft", chosen, factors)
        return result

    def with_bias(
        self, live: Bools, removed: Bools, values: Doubles
    ) -> AnyArray | None:
        """The bias of each filter with what removed channels add; None without one."""
        folded = self.folded(removed & self.foldable(values), values)
        if self.bias is None and not folded[live].any():
            return None
        bias = 0.0 if self.bias is None else self.by_filter(self.bias)
        return (bias + folded).astype(self.weight.dtype)

    def _read(self, live: Bools, values: Doubles) -> Bools:
        """Channels that live filters read and that are not part of the bias."""
        is_used = (self.used & live[:, :, None]).any(axis=1)
        return is_used & ~self.foldable(values)


def representative(which: Bools, values: Doubles) -> Bools:
    """In each group the channel with the largest value, if there is one."""
    sizes = np.where(which, np.abs(values), -1)
    first = np.zeros(which.shape, np.bool_)
    np.put_along_axis(first, sizes.argmax(axis=1)[:, None], True, axis=1)
    return first & which


def products(
    module: ModuleOp, channels: Channels, weights: WeightStore
) -> dict[nn.ConvOp | nn.LinearOp, Product]:
    """Those whose weights may change, in the order of the module."""
    return {
        op: _product(op, weights)
        for op in module.walk()
        if isinstance(op, nn.ConvOp | nn.LinearOp) and op.result in channels.axes
    }


def _product(op: nn.ConvOp | nn.LinearOp, weights: WeightStore) -> Product:
    weight = read_constant(op.weight, weights)
    assert weight is not None
    bias = None if op.bias is None else read_constant(op.bias, weights)
    groups = op.groups.value.data if isinstance(op, nn.ConvOp) else 1
    filters, channels = weight.shape[:2]
    shape = (groups, filters // groups, channels, -1)
    return Product(op, weight.reshape(shape), bias)


def input_channels(product: Product, channels: Channels) -> SSAValue | None:
    """The input, if its channels are known and are those that the layer sums over."""
    value = product.op.input
    axis = 1 if isinstance(product.op, nn.ConvOp) else len(nn.shape_of(value)) - 1
    return value if channels.axes.get(value) == axis else None


def input_values(
    product: Product, channels: Channels, known: Mapping[SSAValue, Doubles]
) -> Doubles:
    """The values of the input's channels by groups; NaN where nothing is known."""
    value = input_channels(product, channels)
    groups, _, each, _ = product.weight.shape
    if value is None or value not in known:
        return np.full((groups, each), np.nan)
    return product.by_channel(known[value])
