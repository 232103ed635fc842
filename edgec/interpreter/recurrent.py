"""What `nn.recurrent` means, step by step in float64."""

from __future__ import annotations

import numpy as np

from edgec.dialects.nn import RecurrentKind
from edgec.interpreter.arrays import WideArray


def sigmoid(x: WideArray) -> WideArray:
    """`1 / (1 + exp(-x))`, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def step(
    kind: RecurrentKind,
    gates: WideArray,
    hidden: WideArray,
    state: WideArray,
    cell: WideArray | None,
) -> tuple[WideArray, WideArray | None]:
    """The states after one step.

    `gates` is what the input gives to the gates of this step, `hidden` what the
    `state` before it gives, both `[N, G H]`.
    """
    if kind is RecurrentKind.RNN_RELU:
        return np.maximum(gates + hidden, 0), None
    if kind is RecurrentKind.RNN_TANH:
        return np.tanh(gates + hidden), None
    given, own = (np.split(x, kind.gates, axis=1) for x in (gates, hidden))
    if kind is RecurrentKind.GRU:
        r, z = (sigmoid(given[g] + own[g]) for g in (0, 1))
        n = np.tanh(given[2] + r * own[2])
        return n + z * (state - n), None
    assert cell is not None
    i, f, o = (sigmoid(given[g] + own[g]) for g in (0, 1, 3))
    cell = f * cell + i * np.tanh(given[2] + own[2])
    return o * np.tanh(cell), cell


def recurrent(
    kind: RecurrentKind,
    gates: WideArray,
    weight: WideArray,
    bias: WideArray | None,
    initial: WideArray,
    cell: WideArray | None,
    *,
    reverse: bool,
) -> tuple[WideArray, ...]:
    """The results of `nn.recurrent`: all states, the last one, an LSTM's last cell."""
    state, steps = initial, len(gates)
    output = np.zeros((steps, *initial.shape))
    shift = 0.0 if bias is None else bias
    for t in reversed(range(steps)) if reverse else range(steps):
        hidden = state @ weight.T + shift
        state, cell = step(kind, gates[t], hidden, state, cell)
        output[t] = state
    return (output, state) if cell is None else (output, state, cell)
