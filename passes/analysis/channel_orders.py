"""Other orders for the channels of a module, in which it computes the same.

An *order* of the channels of one tensor moves the channels that are tied to them in all
other tensors. It moves groups: channel `i` takes the place that belongs to group `g`,
everywhere. That works if no op can tell, which is the case if the ties stay ties:

    a 0 1 2 ─┐                    order [2, 0, 1] of `a`:   s and c move with it,
    d 0 1 2 ─┴─ + ─ s ─┐                                    d too, e does not
             e 0 1    ─┴─ concat ─ c 0 1 2 3 4              c has order [2, 0, 1, 3, 4]

Channels of a fixed group cannot move, those of a part stay in it (the operands of a
concatenation, what a slice takes, the groups of a grouped convolution), and no group
can have two orders. Whoever asks first gets what it wants.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from edgec.dialects import nn, sq
from edgec.passes.analysis.channels import (
    Channels,
    Ints,
    analyse,
    is_depthwise,
    size_along,
)


class ChannelOrders:
    """The order of every tensor's channels; at first each has its own."""

    def __init__(self, module: ModuleOp, channels: Channels) -> None:
        count = len(channels.group)
        self.channels = channels
        self._tensor = np.zeros(count, np.int64)
        for number, (value, first) in enumerate(channels.first.items()):
            end = first + size_along(value, channels.axes[value])
            self._tensor[first:end] = number
        self._by_group = np.lexsort((channels.group, self._tensor))
        left, right = channels.ties
        self._tie_codes = np.unique(left * count + right)
        self._parts = [part for op in module.walk() for part in parts(op, channels)]
        self._target = np.arange(count)
        """Of each group the one whose channels take its place."""
        self._source = np.arange(count)
        """Of each channel the one that takes its place."""
        self._is_settled = np.zeros(count, np.bool_)
        """By the group's number."""

    def of(self, value: SSAValue) -> Ints:
        """The old number of each of a tensor's channels, which has an axis."""
        start = self.channels.first[value]
        size = size_along(value, self.channels.axes[value])
        return self._source[start : start + size] - start

    def settle(self, value: SSAValue, order: Ints) -> bool:
        """Give a tensor's channels this order, for good; False if that cannot be.

        `order[i]` is the number that channel `i` has without any orders.
        """
        found = self._moved(value, order)
        if found is None:
            return False
        self._target, self._source = found
        self._is_settled[self.channels.of(value)] = True
        return True

    def is_free(self, value: SSAValue) -> bool:
        """Whether a tensor's channels could have any order.

        The orders that a module can have are a group of permutations; a swap of two
        neighbours and a rotation make all others.
        """
        swap = np.arange(len(self.channels.of(value)))
        swap[:2] = swap[:2][::-1]
        orders = (swap, np.roll(np.arange(len(swap)), 1))
        return all(self._moved(value, order) is not None for order in orders)

    def _moved(self, value: SSAValue, order: Ints) -> tuple[Ints, Ints] | None:
        """`_target` and `_source` with the order; None if that cannot be."""
        groups = self.channels.of(value)
        target = self._target.copy()
        target[groups] = groups[order]
        is_moved = target[groups] != groups
        if (
            self._is_settled[groups].any()
            or self.channels.is_fixed[groups[is_moved]].any()
            # A group that stands twice in the tensor can only go to one place.
            or not np.array_equal(target[groups], groups[order])
        ):
            return None
        source = self._sources(target)
        if source is None or not self._is_invisible(source):
            return None
        return target, source

    def _sources(self, target: Ints) -> Ints | None:
        """The channel that moves to each place; None if a tensor has no such channel.

        `target` says which group's channels take the place of each group's: the first
        of the tensor that of the first, and so on.
        """
        group = self.channels.group
        wanted = target[group]
        order = np.lexsort((wanted, self._tensor))
        if not np.array_equal(wanted[order], group[self._by_group]):
            return None
        source = np.empty_like(group)
        source[order] = self._by_group
        return source

    def _is_invisible(self, source: Ints) -> bool:
        """Whether every op finds its channels as before, but for their numbers."""
        left, right = self.channels.ties
        moved = source[left] * len(source) + source[right]
        place = np.searchsorted(self._tie_codes, moved)
        place = np.minimum(place, len(self._tie_codes) - 1)
        if not np.array_equal(self._tie_codes[place], moved):
            return False
        return all(
            np.array_equal(labels[source[start : start + len(labels)] - start], labels)
            for start, labels in self._parts
        )


def free_linear(module: ModuleOp) -> set[nn.LinearOp]:
    """Linear layers whose channels could have any order.

    No other layer makes them, so none can have settled another order before.
    """
    layers = [op for op in module.walk() if isinstance(op, nn.ConvOp | nn.LinearOp)]
    if not any(isinstance(layer, nn.LinearOp) for layer in layers):
        return set()
    channels = analyse(module, (nn.ConstantOp, sq.WeightOp))
    orders = ChannelOrders(module, channels)
    makers = np.zeros(len(channels.group), np.int64)
    layers = [layer for layer in layers if layer.result in channels.axes]
    for layer in layers:
        makers[np.unique(channels.of(layer.result))] += 1
    return {
        layer
        for layer in layers
        if isinstance(layer, nn.LinearOp)
        and (makers[channels.of(layer.result)] == 1).all()
        and orders.is_free(layer.result)
    }


def parts(op: Operation, channels: Channels) -> Iterator[tuple[int, Ints]]:
    """Parts of tensors that keep their channels: first channel, label of each one."""
    if isinstance(op, nn.ConcatOp) and op.result in channels.axes:
        axis = op.axis.value.data
        if channels.axes[op.result] == axis:
            sizes = [size_along(value, axis) for value in op.operands]
            yield channels.first[op.result], np.repeat(np.arange(len(sizes)), sizes)
    if isinstance(op, nn.ConvOp) and op.groups.value.data > 1:
        # A filter of a depthwise convolution is tied to its channel.
        is_stored = isinstance(op.weight.owner, sq.WeightOp)
        if is_depthwise(op) and not is_stored:
            return
        for value in (op.input, op.result):
            if channels.axes.get(value) == 1:
                size = size_along(value, 1)
                each = 1 if is_stored else size // op.groups.value.data
                yield channels.first[value], np.arange(size) // each


def moves(order: npt.NDArray[np.integer]) -> bool:
    """Whether an order is another than 0, 1, 2 and so on."""
    return bool((order != np.arange(len(order))).any())
