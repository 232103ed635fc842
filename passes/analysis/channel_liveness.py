"""Which groups of channels anything needs.

From the back to the front: the function's results are needed; a filter that is needed
needs the channels that it has weights for. Tied channels are needed together. What
stays although nobody needs it is there for the shapes: every tensor has a channel,
all groups of a grouped convolution are alike, and blocks of compressed columns whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.ir import SSAValue

from edgec.passes.analysis.channels import Bools, Channels, Ints
from edgec.passes.analysis.products import (
    Doubles,
    Product,
    input_channels,
    input_values,
)
from edgec.passes.analysis.sparse import COLUMN_COST, MAX_DENSITY


@dataclass(frozen=True)
class Liveness:
    """The state of the search; what is live stays so."""

    channels: Channels
    products: Sequence[Product]
    values: Mapping[SSAValue, Doubles]
    live: Bools
    """By the group's number."""

    def of(self, value: SSAValue) -> Bools:
        """Whether each channel of a tensor is needed; it has an axis."""
        return self.live[self.channels.of(value)]

    def filters(self, product: Product) -> Bools:
        """Whether each filter is needed, by groups."""
        return product.by_filter(self.of(product.op.result))

    def inputs(self, product: Product) -> Bools:
        """The same of what it reads; a tensor without channels is needed."""
        value = input_channels(product, self.channels)
        if value is None:
            groups, _, channels, _ = product.weight.shape
            return np.ones((groups, channels), np.bool_)
        return product.by_channel(self.of(value))

    def spread(self) -> None:
        """Mark all that live filters need, and what is needed for that."""
        before = -1
        while before != (before := int(self.live.sum())):
            for product in reversed(self.products):
                value = input_channels(product, self.channels)
                if value is not None:
                    values = input_values(product, self.channels, self.values)
                    read = product.reads(self.filters(product), values)
                    self.live[self.channels.of(value)[read.reshape(-1)]] = True


def live_groups(
    channels: Channels,
    products: Sequence[Product],
    values: Mapping[SSAValue, Doubles],
) -> tuple[Liveness, int]:
    """What has to stay, and how many groups of it nobody needs."""
    state = Liveness(channels, products, values, channels.is_fixed.copy())
    held = 0
    while True:
        state.spread()
        more = hold_tensors(state) or hold_groups(state) or hold_blocks(state)
        held += more
        if not more:
            return state, held


def hold_tensors(state: Liveness) -> int:
    """Keep the first channel of each tensor without a live one; how many."""
    count = 0
    for value in state.channels.axes:
        if not state.of(value).any():
            count += hold(state, value, np.zeros(1, np.int64))
    return count


def hold_groups(state: Liveness) -> int:
    """Keep as many channels and filters in all groups that have any; how many."""
    count = 0
    for product in state.products:
        if len(product.weight) > 1:
            filters, inputs = state.filters(product), state.inputs(product)
            both = np.concatenate([filters, inputs], axis=1)
            is_active = np.asarray(both.any(axis=1), np.bool_)
            count += hold(state, product.op.result, missing(filters, is_active))
            value = input_channels(product, state.channels)
            if value is not None:
                count += hold(state, value, missing(inputs, is_active))
    return count


def hold(state: Liveness, value: SSAValue, which: Ints) -> int:
    """Keep channels of a tensor; how many groups of channels were dead."""
    numbers = np.unique(state.channels.of(value)[which])
    count = int((~state.live[numbers]).sum())
    state.live[numbers] = True
    return count


def hold_blocks(state: Liveness) -> int:
    """Keep dead filters that the compressed columns of a block store anyway; how many.

    Without them, the filters after them would move to other blocks, which keep other
    columns.
    """
    count = 0
    for product in state.products:
        filters, inputs = state.filters(product)[0], state.inputs(product)[0]
        if len(product.weight) > 1 or filters.all():
            continue
        used = product.weight[0][:, inputs].reshape(len(filters), -1) != 0
        if np.count_nonzero(used[filters]) <= MAX_DENSITY * used[filters].size:
            count += hold(state, product.op.result, padding_rows(used, filters))
    return count


def padding_rows(used: Bools, live: Bools) -> Ints:
    """Dead rows that make the live ones whole blocks, where blocks cost least.

    Rows that use the same columns are a class, of which blocks are made.
    """
    _, kinds = np.unique(np.packbits(used, axis=1), axis=0, return_inverse=True)
    kinds = kinds.reshape(-1)
    rows, alive = np.bincount(kinds), np.bincount(kinds, weights=live).astype(np.int64)
    width = np.bincount(kinds, weights=used.sum(axis=1)) / rows

    def kept(block: int) -> Ints:
        whole = np.minimum(rows, -(-alive // block) * block)
        return np.where(width > 0, whole, alive)  # no block stores rows of zeros

    def cost(block: int) -> float:
        """Of the rows that fill blocks of this size, in the size that suits them."""
        count, found = kept(block), math.inf
        for stored in COLUMN_COST:
            each = [COLUMN_COST[size] for size in np.gcd(count, stored).tolist()]
            found = min(found, float((count * width * each).sum()))
        return found

    wanted = kept(min(COLUMN_COST, key=lambda block: (cost(block), -block))) - alive
    chosen = [
        np.flatnonzero((kinds == kind) & ~live)[: wanted[kind]]
        for kind in np.flatnonzero(wanted)
    ]
    return np.concatenate([np.zeros(0, np.int64), *chosen])


def missing(live: Bools, is_active: Bools) -> Ints:
    """Of each active group the first dead entries, to be like the others."""
    groups, each = live.shape
    wanted = max(1, int(live.sum(axis=1).max()))
    lacks = np.where(is_active, wanted - live.sum(axis=1), 0)
    rank = np.cumsum(~live, axis=1)  # 1 for the first dead entry
    chosen = ~live & (rank <= lacks[:, None])
    return np.flatnonzero(chosen.reshape(groups * each))
