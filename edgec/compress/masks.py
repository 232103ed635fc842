"""Masks of a pruned model, and how to train without losing them.

    prune(model, "pattern", density=0.125)
    with MaskedGradients(model) as masked:
        for x, y in batches:
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()
            masked.apply()

The gradient of a pruned weight is multiplied by zero, so a fresh optimizer never moves
it. `apply` puts the zeros back and is needed only for an optimizer that was in use
before the model was pruned: its momentum would go on moving pruned weights.

Of a channel that `groups` dropped, biases and batch norms are zero too, and would not
stay so by themselves: `MaskedGradients(model, masks_of(model, groups))`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from edgec.compress.channels import ChannelGroups, check_groups
from edgec.compress.coupling import living_channels
from edgec.compress.layers import layer_weights
from edgec.errors import InvalidInput, some_of


def masks_of(
    model: nn.Module, groups: ChannelGroups | None = None
) -> dict[str, Tensor]:
    """Parameter name to bool tensor: true where a weight is not zero.

    Only the weights of convolutions, linear and recurrent layers that hold a zero
    appear. With the `groups` that a model was pruned by, also biases and scales and
    shifts of batch norms, false where they are zero and their channel has no filter
    with weights left.

    Raises `InvalidInput` for groups of another model.
    """
    masks: dict[str, Tensor] = {}
    for weight in layer_weights(model).values():
        mask = weight.tensor.detach() != 0
        if not bool(mask.all()):
            masks[weight.parameter_name] = mask
    return masks if groups is None else masks | _vector_masks(model, groups)


def _vector_masks(model: nn.Module, groups: ChannelGroups) -> dict[str, Tensor]:
    """Masks of what has one element per channel, where a channel is gone."""
    check_groups(model, groups)
    weights = layer_weights(model)
    empty = {
        name: (weights[name].tensor.detach().flatten(1) == 0).all(1).cpu().numpy()
        for name in groups.filters
    }
    masks: dict[str, Tensor] = {}
    for name, lives in living_channels(groups, empty).items():
        tensor = model.get_parameter(name).detach()
        mask = torch.as_tensor(lives, device=tensor.device) | (tensor != 0)
        if not bool(mask.all()):
            masks[name] = mask
    return masks


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set every weight to zero, in place, where its mask is false.

    Raises `InvalidInput` if a mask names no parameter or has another shape.
    """
    for parameter, mask in _match(model, masks):
        with torch.no_grad():
            parameter.masked_fill_(~mask.to(parameter.device), 0)


class MaskedGradients:
    """Multiplies gradients by the masks of a model, from construction to `remove`.

    Usable in any training loop, also under DistributedDataParallel (every replica has
    the same masks, so averaging keeps the zeros). A context manager that removes its
    hooks at the end.
    """

    def __init__(
        self, model: nn.Module, masks: Mapping[str, Tensor] | None = None
    ) -> None:
        """Hook the parameters named in `masks` (default: `masks_of(model)`)."""
        self._model = model
        self.masks = dict(masks_of(model) if masks is None else masks)
        self._handles: list[RemovableHandle] = [
            _hook(parameter, _Multiply(mask.to(parameter.device)))
            for parameter, mask in _match(model, self.masks)
        ]

    def apply(self) -> None:
        """Set pruned weights to zero again."""
        apply_masks(self._model, self.masks)

    def remove(self) -> None:
        """Take the hooks off; calling it twice does nothing."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __enter__(self) -> Self:
        """Itself: the hooks stand since construction."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the hooks off."""
        self.remove()


class _Multiply:
    """A gradient hook: zero where the mask is false, even for an infinite gradient."""

    def __init__(self, mask: Tensor) -> None:
        self._dropped = ~mask

    def __call__(self, gradient: Tensor) -> Tensor:
        return gradient.masked_fill(self._dropped, 0)


def _hook(parameter: nn.Parameter, hook: _Multiply) -> RemovableHandle:
    # torch leaves the type of `register_hook` half open.
    register = cast(
        Callable[[_Multiply], RemovableHandle],
        parameter.register_hook,  # pyright: ignore[reportUnknownMemberType]
    )
    return register(hook)


def _match(
    model: nn.Module, masks: Mapping[str, Tensor]
) -> list[tuple[nn.Parameter, Tensor]]:
    """Each mask with its parameter; both fit each other."""
    parameters = dict(model.named_parameters())
    pairs: list[tuple[nn.Parameter, Tensor]] = []
    for name, mask in masks.items():
        if name not in parameters:
            raise InvalidInput(
                f"mask '{name}' must name a parameter of the model; "
                f"known are {some_of(sorted(parameters))}"
            )
        if mask.dtype != torch.bool or mask.shape != parameters[name].shape:
            raise InvalidInput(
                f"mask '{name}' must be bool and of shape "
                f"{tuple(parameters[name].shape)}, got {mask.dtype} and "
                f"{tuple(mask.shape)}"
            )
        pairs.append((parameters[name], mask))
    return pairs
