"""Latency of a model that is about to be pruned."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn

from edgec.errors import InvalidInput
from edgec.target import Target

if TYPE_CHECKING:
    from edgec.forecast import Forecast


def forecaster(
    model: nn.Module,
    example_inputs: object,
    target: str | Target | None,
    threads: int | None,
) -> Callable[[], Forecast | None]:
    """What predicts the latency of `model` once it is pruned; None without a target.

    The dense model is predicted here, so that one which cannot be compiled is refused
    before its weights change. Raises `InvalidInput` for a target without inputs or
    threads without a target, and what `edgec.predict` raises.
    """
    if target is None:
        if threads is not None:
            raise InvalidInput("threads go with target, for which latency is predicted")
        return lambda: None
    if example_inputs is None:
        raise InvalidInput("target needs example_inputs to predict the latency")
    # The compiler is not loaded for those who only prune.
    from edgec.forecast import predict

    def forecast() -> Forecast:
        return predict(model, example_inputs, target=target, threads=threads)

    forecast()
    return forecast
