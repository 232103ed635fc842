"""Which channels of a torch model have to be pruned together.

    groups = edgec.channel_groups(model, example_inputs)
    edgec.compress.prune(model, "filter", 0.5, groups=groups)

The analysis is the one of `shrink-channels`, so what is pruned by its groups is removed
when the model is compiled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn
from xdsl.ir import Operation, SSAValue

from edgec.compress.channels import ChannelGroups, shapes_of
from edgec.compress.layers import layer_weights
from edgec.context import WeightStore
from edgec.dialects import nn as nn_dialect
from edgec.errors import InvalidInput
from edgec.importer import ImportedModel, import_model
from edgec.passes.analysis.channels import (
    MODEL_RULES,
    Channels,
    Ints,
    analyse,
    lowest_connected,
)
from edgec.passes.constants import constant_name, is_constant, read_constant

NONE = np.zeros(0, np.int64)


def channel_groups(model: nn.Module, example_inputs: object = None) -> ChannelGroups:
    """Find which filters of which layers make channels that belong together.

    Those of the layers that meet in a residual sum, of a convolution and the depthwise
    one after it, of a layer that is called twice; concatenations and slices are seen
    through. What comes out stays true until layers change their shape, and can be used
    after more training.

    Args:
        model: an `nn.Module`, looked at as in `eval()` and left as it is.
        example_inputs: tensors, one or a tuple or a mapping of keywords; their shapes
            count.

    Raises `InvalidInput` for what is no module, `ImportFailed` listing everything in
    the model that is not supported.
    """
    # pyright takes the annotation at its word, users need not.
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInput(f"model must be an nn.Module, got {type(model).__name__}")
    imported = import_model(model, example_inputs)
    channels = analyse(imported.module, rules=MODEL_RULES)
    uses = _uses(model, imported, channels)
    group = _merged(channels.group, list(uses.of_parameter.values()))
    found = {name: group[first] for name, (first, *_) in uses.of_parameter.items()}
    # Numbers that some parameter has, from 0 on.
    known = np.unique(np.concatenate([NONE, *found.values()]))
    numbers = {
        name: tuple(np.searchsorted(known, of).tolist()) for name, of in found.items()
    }
    layers = {w.parameter_name: name for name, w in layer_weights(model).items()}
    return ChannelGroups(
        filters={layers[p]: of for p, of in numbers.items() if p in layers},
        vectors={p: of for p, of in numbers.items() if p not in layers},
        fixed=frozenset(np.flatnonzero(np.isin(known, group[uses.fixed])).tolist()),
        shapes=shapes_of(model),
    )


class Uses(NamedTuple):
    """Where channels come from and what scales and shifts them."""

    of_parameter: dict[str, list[Ints]]
    """Of each parameter the channels of its elements or rows, once for each op that
    reads it."""
    fixed: Ints
    """Channels that cannot be removed, or not by pruning a layer."""


def _uses(model: nn.Module, imported: ImportedModel, channels: Channels) -> Uses:
    """Look at all ops that have weights."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    layers = {weight.parameter_name for weight in layer_weights(model).values()}
    # A module under two names has one of them as a layer, and maybe the other here.
    own = {id(parameters[name]): name for name in layers & parameters.keys()}
    found: defaultdict[str, list[Ints]] = defaultdict(list)
    fixed = [np.flatnonzero(channels.is_fixed)]
    for op in imported.module.walk():
        if not op.results or op.results[0] not in channels.axes:
            continue
        of = channels.of(op.results[0])
        names = [
            _parameter(value, parameters, imported.ctx.weights)
            for value in _by_channel(op)
        ]
        names = [name and own.get(id(parameters[name]), name) for name in names]
        is_product = isinstance(op, nn_dialect.ConvOp | nn_dialect.LinearOp)
        if is_product and names[0] not in layers:
            fixed.append(of)
            names = names[1:]
        for name in filter(None, names):
            found[name].append(of)
    return Uses(dict(found), np.concatenate(fixed))


def _by_channel(op: Operation) -> list[SSAValue]:
    """Constants whose first axis is that of an op's channels."""
    if isinstance(op, nn_dialect.ConvOp | nn_dialect.LinearOp):
        return [op.weight] if op.bias is None else [op.weight, op.bias]
    if isinstance(op, nn_dialect.BatchNormOp):
        return [op.scale, op.shift]
    return []


def _parameter(
    value: SSAValue, parameters: Mapping[str, Tensor], weights: WeightStore
) -> str | None:
    """The name of the parameter that a constant is; None if it is none, or computed.

    A constant that was computed has the name of the largest parameter in it.
    """
    name = constant_name(value)
    array = read_constant(value, weights) if is_constant(value) else None
    if array is None or name not in parameters:
        return None
    tensor = parameters[name].detach()
    if array.shape != tuple(tensor.shape):
        return None
    if tensor.is_contiguous():
        is_same = array.ctypes.data == tensor.data_ptr()
    else:  # the importer made a copy
        is_same = bool((array == tensor.numpy()).all())
    return name if is_same else None


def _merged(group: Ints, uses: Sequence[Sequence[Ints]]) -> Ints:
    """Of every channel its group, where what one parameter is read for is one."""
    left, right = [NONE], [NONE]
    for first, *more in uses:
        left += [first] * len(more)
        right += more
    ends = np.concatenate(left), np.concatenate(right)
    return lowest_connected(len(group), *ends)[group]
