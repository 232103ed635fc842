"""Multiply-adds of every layer of a model, counted while it runs once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.hooks import RemovableHandle

from edgec.compress.layers import LayerWeight
from edgec.errors import InvalidInput

Hook = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]
"""Called with the module, its arguments and its output, whatever they are."""


def layer_costs(
    model: nn.Module, weights: Iterable[LayerWeight], example_inputs: object
) -> dict[str, float]:
    """Multiply-adds of each weight, by name; 0 for one that was not called.

    The model runs once in evaluation mode without gradients, and is left as it was.
    `example_inputs` is a tensor, a tuple of arguments, or a mapping of keywords. Raises
    `InvalidInput` if the model does not run on them.
    """
    costs: dict[str, float] = {}
    by_module: defaultdict[nn.Module, list[LayerWeight]] = defaultdict(list)
    for weight in weights:
        costs[weight.name] = 0.0
        by_module[weight.module].append(weight)

    # Any: modules take and return anything; those hooked take and return tensors.
    def count(
        module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any], output: Any
    ) -> None:
        given = args[0] if args else keywords["input"]
        for weight in by_module[module]:
            calls = _applications(weight, given, output)
            costs[weight.name] += calls * weight.geometry.size

    with _evaluation(model), _hooked(by_module, count), torch.no_grad():
        try:
            _call(model, example_inputs)
        except (RuntimeError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"the model does not run on example_inputs: {error}"
            ) from error
    return costs


def _applications(
    weight: LayerWeight, given: Tensor | PackedSequence, output: object
) -> float:
    """How often the whole weight is applied: positions of outputs, or time steps."""
    if weight.geometry.kind != "recurrent":
        return cast(Tensor, output).numel() / weight.geometry.filters
    data = given.data if isinstance(given, PackedSequence) else given
    return data.numel() / cast(int, weight.module.input_size)


def _call(model: nn.Module, example_inputs: object) -> None:
    if isinstance(example_inputs, Mapping):
        model(**cast(Mapping[str, object], example_inputs))
    elif isinstance(example_inputs, (tuple, list)):
        model(*cast(Iterable[object], example_inputs))
    else:
        model(example_inputs)


@contextmanager
def _evaluation(model: nn.Module) -> Generator[None]:
    """All modules in evaluation mode; after it each in the mode it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _hooked(modules: Iterable[nn.Module], hook: Hook) -> Generator[None]:
    handles: list[RemovableHandle] = []
    try:
        for module in modules:
            # torch leaves the type of hooks half open.
            given = cast(Any, hook)
            handles.append(module.register_forward_hook(given, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()
