"""`nn.recurrent`: one recurrent layer in one direction."""

from __future__ import annotations

from xdsl.dialects.builtin import BoolAttr, TensorType
from xdsl.ir import SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_result_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from edgec.dialects import shapes
from edgec.dialects.nn.attrs import RecurrentKind, RecurrentKindAttr
from edgec.dialects.nn.base import (
    NNOperation,
    check_bias,
    like,
    shape_of,
    tensor,
    tensor_type,
    verify_same_elements,
)

STORED = "sq.quant"
"""The element type of quantized tensors, which `sq` defines on top of `nn`."""


@irdl_op_definition
class RecurrentOp(NNOperation):
    """`%y, %h = nn.recurrent gru %g, %w bias %b from %h0 {reverse = false} : …`.

    `g[t, n]` is what the input of step `t` gives to the gates, `W_ih x + b_ih`, and
    `h` the state before it; gates and their order are those of torch:

    - `rnn_tanh`, `rnn_relu`: `h' = f(g + W h + b)`;
    - `gru`: `r = sigmoid(g_r + W_r h + b_r)`, the same for `z`,
      `n = tanh(g_n + r (W_n h + b_n))`, `h' = n + z (h - n)`;
    - `lstm`: `i`, `f`, `o` are sigmoids and `d` the tanh of `g + W h + b`,
      `c' = f c + i d`, `h' = o tanh(c')`; gates stand in the order `i, f, d, o`.

    `g` is `[T, N, G H]`, `w` `[G H, H]`, `b` `[G H]`, the states `[N, H]`. Results are
    `h'` of all steps, `[T, N, H]`, and the states after the last one. With `reverse`
    the steps run from the last to the first. `w` may be quantized, and counts as
    dequantized; all else is float32 then. An LSTM has a second state:

        %y, %h, %c = nn.recurrent lstm %g, %w bias %b from %h0, %c0 {…} : …
    """

    name = "nn.recurrent"

    kind = prop_def(RecurrentKindAttr)
    gates = operand_def(tensor)
    weight = operand_def(tensor)
    bias = opt_operand_def(tensor)
    initial = operand_def(tensor)
    cell = opt_operand_def(tensor)
    reverse = prop_def(BoolAttr)
    output = result_def(tensor)
    last = result_def(tensor)
    last_cell = opt_result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$kind $gates `,` $weight (`bias` $bias^)? `from` $initial (`,` $cell^)? "
        "attr-dict `:` type($gates) `,` type($weight) (`bias` type($bias)^)? `from` "
        "type($initial) (`,` type($cell)^)? `->` type($output) `,` type($last) "
        "(`,` type($last_cell)^)?"
    )

    def __init__(
        self,
        kind: RecurrentKind | str,
        gates: SSAValue,
        weight: SSAValue,
        bias: SSAValue | None,
        initial: SSAValue,
        cell: SSAValue | None = None,
        *,
        reverse: bool = False,
    ) -> None:
        state = like(initial, shape_of(initial))
        sizes = (*shape_of(gates)[:1], *shape_of(initial))
        super().__init__(
            operands=[gates, weight, bias, initial, cell],
            properties={
                "kind": RecurrentKindAttr(RecurrentKind(kind)),
                "reverse": BoolAttr.from_bool(reverse),
            },
            result_types=[like(gates, sizes), state, state if cell else None],
        )

    def result_shape(self) -> shapes.Shape:
        """`[T, N, H]` of the first result, if all operands fit."""
        kind = self.kind.data
        steps, rows, hidden = shapes.recurrent(
            shape_of(self.gates), shape_of(self.weight), kind.gates
        )
        check_bias(self.bias, kind.gates * hidden)
        for name, state in (("initial", self.initial), ("cell", self.cell)):
            if state is not None and shape_of(state) != (rows, hidden):
                raise shapes.ShapeError(
                    f"{name} must have shape {(rows, hidden)}, got {shape_of(state)}"
                )
        return (steps, rows, hidden)

    def verify_elements(self) -> None:
        """All are alike, but a weight may be stored in integers (`!sq.quant`)."""
        is_stored = tensor_type(self.weight).element_type.name == STORED
        alike = [v for v in self.operands if not (is_stored and v is self.weight)]
        verify_same_elements(self, [*alike, self.output])

    def verify_(self) -> None:
        """The results have their shapes; an LSTM, and only that, has cells."""
        super().verify_()
        has_cell = self.kind.data is RecurrentKind.LSTM
        for what, value in (("operand", self.cell), ("result", self.last_cell)):
            if (value is not None) != has_cell:
                raise VerifyException(
                    f"'{self.name}' op {self.kind.data} must have "
                    f"{'a' if has_cell else 'no'} cell {what}"
                )
        first = tensor_type(self.output)
        expected = TensorType(first.element_type, first.get_shape()[1:])
        for state in self.results[1:]:
            found = tensor_type(state)
            if (found.get_shape(), found.element_type) != (
                expected.get_shape(),
                expected.element_type,
            ):
                raise VerifyException(
                    f"'{self.name}' op last state must be {expected}, got {found}"
                )
