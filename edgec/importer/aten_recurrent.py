"""Rules for recurrent layers: whole layers, and the cells that make one step.

Each layer and direction is one `nn.recurrent`; what its input gives to the gates is
one linear layer for all steps. Inside, tensors are `[T, N, …]`.
"""

# A rule takes the arguments of its overload, however many these are.
# ruff: noqa: PLR0913, PLR0917

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from xdsl.ir import SSAValue

from edgec.dialects import nn
from edgec.importer.builder import Builder
from edgec.importer.problems import Unsupported


class Weights(NamedTuple):
    """Of one layer in one direction."""

    suffix: str
    """Of torch's names for them: `_l0_reverse`; none in a cell."""
    input: SSAValue
    hidden: SSAValue
    input_bias: SSAValue | None
    hidden_bias: SSAValue | None


def _layer(
    b: Builder,
    kind: str,
    x: SSAValue,
    weights: Weights,
    states: Sequence[SSAValue],
    *,
    reverse: bool = False,
) -> list[SSAValue]:
    """`[T, N, H]` of all steps, and `[N, H]` of each state after the last."""
    b.require_constant(weights.hidden)
    part = f"weight_ih{weights.suffix}"
    gates = b.linear(x, weights.input, weights.input_bias, part)
    initial, cell = (*states, None)[:2]
    assert initial is not None
    op = nn.RecurrentOp(
        kind,
        gates,
        weights.hidden,
        weights.hidden_bias,
        initial,
        cell,
        reverse=reverse,
    )
    b.emit(op, f"weight_hh{weights.suffix}")
    return list(op.results)


def _swap(b: Builder, x: SSAValue) -> SSAValue:
    """`[N, T, …]` to `[T, N, …]` and back; only a new shape if one of them is 1."""
    first, second, *rest = nn.shape_of(x)
    if 1 in (first, second):
        return b.reshape(x, (second, first, *rest))
    return b.transpose(x, (1, 0, 2))


def _part(b: Builder, states: SSAValue, index: int) -> SSAValue:
    """`[N, H]`, a state of one layer in one direction."""
    shape = nn.shape_of(states)[1:]
    tensor = b.constant_of(states)
    if tensor is not None:
        return b.constant(tensor[index], f"{b.hint_of(states)}.{index}")
    return b.reshape(b.slice(states, 0, index, 1), shape)


def _weights(
    params: Sequence[SSAValue], has_biases: bool, layers: int, directions: int
) -> list[Weights]:
    """The weights of each layer and direction."""
    size = 4 if has_biases else 2
    if len(params) != size * layers * directions:
        raise Unsupported(
            "it projects its state (proj_size)",
            "use proj_size=0 and a linear layer after it",
        )
    found: list[Weights] = []
    for number, start in enumerate(range(0, len(params), size)):
        layer, is_reverse = divmod(number, directions)
        part = params[start : start + size]
        biases = part[2:] if has_biases else (None, None)
        suffix = f"_l{layer}{'_reverse' if is_reverse else ''}"
        found.append(Weights(suffix, part[0], part[1], *biases))
    return found


def _stack(
    b: Builder,
    kind: str,
    x: SSAValue,
    hx: Sequence[SSAValue],
    weights: Sequence[Weights],
    directions: int,
) -> tuple[SSAValue, list[SSAValue]]:
    """All layers: the last one's output; each state, `[layers * directions, N, H]`."""
    after: list[list[SSAValue]] = [[] for _ in hx]
    for first in range(0, len(weights), directions):
        outputs: list[SSAValue] = []
        for number in range(first, first + directions):
            states = [_part(b, state, number) for state in hx]
            reverse = number > first
            output, *last = _layer(b, kind, x, weights[number], states, reverse=reverse)
            outputs.append(output)
            for found, state in zip(after, last, strict=True):
                found.append(state)
        x = b.concat(outputs, 2)
    shape = nn.shape_of(hx[0])
    return x, [b.reshape(b.concat(found, 0), shape) for found in after]


def _recurrent(kind: str) -> Callable[..., tuple[SSAValue, ...]]:
    def build(
        b: Builder,
        input: SSAValue,
        hx: SSAValue | Sequence[SSAValue],
        params: Sequence[SSAValue],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[SSAValue, ...]:
        if train and dropout > 0 and num_layers > 1:
            raise Unsupported(
                f"it is in training mode with dropout {dropout}",
                "call model.eval() before exporting",
            )
        directions = 2 if bidirectional else 1
        weights = _weights(params, has_biases, num_layers, directions)
        states = [hx] if isinstance(hx, SSAValue) else hx
        x = _swap(b, input) if batch_first else input
        x, after = _stack(b, kind, x, states, weights, directions)
        return (_swap(b, x) if batch_first else x, *after)

    return build


def _cell(kind: str) -> Callable[..., Any]:
    def build(
        b: Builder,
        input: SSAValue,
        hx: SSAValue | Sequence[SSAValue],
        w_ih: SSAValue,
        w_hh: SSAValue,
        b_ih: SSAValue | None = None,
        b_hh: SSAValue | None = None,
    ) -> SSAValue | tuple[SSAValue, ...]:
        states = [hx] if isinstance(hx, SSAValue) else hx
        x = b.reshape(input, (1, *nn.shape_of(input)))
        weights = Weights("", w_ih, w_hh, b_ih, b_hh)
        _, *last = _layer(b, kind, x, weights, states)
        return tuple(last) if kind == "lstm" else last[0]

    return build


_KINDS = ("gru", "lstm", "rnn_tanh", "rnn_relu")

RULES: dict[str, Callable[..., Any]] = {
    **{f"{kind}.input": _recurrent(kind) for kind in _KINDS},
    "gru_cell.default": _cell("gru"),
    "lstm_cell.default": _cell("lstm"),
    "rnn_tanh_cell.default": _cell("rnn_tanh"),
    "rnn_relu_cell.default": _cell("rnn_relu"),
}
