"""Let layers whose input and weight are quantized multiply integers.

What: an `nn.conv` of what `sq.dequantize` makes of an activation and of a constant
becomes an `sq.conv` on the quantized tensors, and an `nn.linear` an `sq.linear`, which
flattens its input itself. Means of windows and planes that integer layers make or read
become `sq.average`, and bilinear resizing of such `sq.resize`, in bytes if they are
quantized. Every other layer with a stored weight gets it as a float32 constant, and it
and other means an attribute `sq.why_float` with the reason.

Why: products of bytes take a quarter of the time and of the memory of float32 ones.

How: a layer is taken if there is a kernel for it: a convolution of rank 4 or 5 with one
group, or a depthwise one of rank 4 whose result becomes bytes; an input with one scale,
a weight of signed bytes with one scale or one for each filter and no zero point, and
sums that 32 bits hold; a linear layer with an input of rank 2 likewise
(`flatten-rows` makes it so). A layer whose weights are very sparse is compared with
sparse kernels in float32, by predicted cycles, and is left to these if they are faster
(`analysis.integer_gain`). What cannot be in bytes between layers says so. Signed
activations become unsigned ones, whose zero point is larger by 128: the kernels
multiply unsigned by signed bytes; at the ends of a function they are converted.
`sq.conv` says that the layer has its last form; passes on `nn` products, which change
weights or move channels, do not see it.

Invariants: needs `nn` and `sq`; runs after `propagate-quantization`. Leaves no
`sq.dequantize` of a constant that a convolution or linear layer reads. The sums are
exact, so results differ from float32 arithmetic in rounding only.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (CVPR 2018), section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr, TensorType, f32
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from edgec.context import WeightStore, weights_of
from edgec.dialects import nn, sq
from edgec.interpreter.quant import dequantize
from edgec.kernels.cost import Registers
from edgec.passes.analysis.integer_gain import Gain, Machine, gain_of
from edgec.passes.analysis.linear_inputs import is_unflattened, unflattened
from edgec.passes.analysis.quantized import INTEGER, is_in_bytes
from edgec.passes.analysis.why_float import Layer, source_of, stored_of, why_float
from edgec.passes.base import ReportingPass
from edgec.passes.constants import constant_name, read_constant
from edgec.passes.patterns import averages, resizing
from edgec.passes.patterns.rewriting import OpT, erase_dead, producer
from edgec.passes.patterns.signs import make_unsigned


def integer_layer(op: nn.ConvOp | nn.LinearOp) -> sq.ConvOp | sq.LinearOp:
    """The same layer of the quantized tensors."""
    source, stored = source_of(op), stored_of(op.weight)
    assert source is not None
    assert stored is not None
    type_ = TensorType(f32, nn.shape_of(op.result))
    if isinstance(op, nn.LinearOp):
        new = sq.LinearOp(source, stored, op.bias, (), (), type_)
    else:
        new = sq.ConvOp(source, stored, op.bias, (), op.properties, (), type_)
    new.attributes.update(op.attributes)
    return new


def take(
    op: OpT, why: Callable[[OpT], str | None], rewrite: Callable[[OpT], None]
) -> bool:
    """Compute on bytes instead of what they stand for, or say why not."""
    if not isinstance(op.operands[0].owner, sq.DequantizeOp):
        return False
    reason = why(op)
    if reason is None:
        rewrite(op)
    else:
        op.attributes["sq.why_float"] = StringAttr(f"float32: {reason}")
    return reason is None


def take_others(module: ModuleOp) -> dict[str, int]:
    """Average and interpolate bytes where integer layers are near; how many ops do."""
    counts = {"averages": 0, "resizes": 0}
    for op in list(module.walk()):
        if isinstance(op, averages.Mean) and averages.is_mean(op):
            counts["averages"] += take(op, averages.why_float, averages.take)
        elif isinstance(op, nn.ResizeOp) and resizing.is_interpolation(op):
            counts["resizes"] += take(op, resizing.why_float, resizing.take)
        elif isinstance(op, nn.NNOperation):
            explain(op)
    return counts


STEPS = (nn.UnaryOp, nn.BinaryOp, sq.QuantizeOp)
"""What `fuse` lets kernels on bytes do."""


NO_INTEGERS = nn.LayerNormOp | nn.SoftmaxOp | nn.MatmulOp
"""Ops of attention that have no kernel on integers."""


def explain_between(module: ModuleOp) -> None:
    """Say of ops without integer kernels that they are in float32, between layers.

    They depend on the results of integer layers, and bytes depend on theirs.
    """
    ops = [op for op in module.walk() if op.results]
    behind: set[SSAValue] = set()
    for op in ops:
        is_integer = isinstance(op, INTEGER) and sq.has_integers(op.operands[0])
        if is_integer or any(value in behind for value in op.operands):
            behind.update(op.results)
    before: set[SSAValue] = set()
    for op in reversed(ops):
        if isinstance(op, sq.QuantizeOp) or any(
            value in before for value in op.results
        ):
            before.update(op.operands)
    for op in ops:
        is_between = op.results[0] in behind and op.results[0] in before
        is_known = "sq.why_float" in op.attributes
        if isinstance(op, NO_INTEGERS) and is_between and not is_known:
            reason = f"float32: there is no integer kernel of {op.name}"
            op.attributes["sq.why_float"] = StringAttr(reason)


def explain(op: nn.NNOperation) -> None:
    """Say of an op that reads what integer layers have made that it is in float32."""
    if isinstance(op, nn.ReshapeOp) and is_unflattened(op):
        return  # its readers say it
    values = [unflattened(value) for value in op.operands]
    makers = [producer(value, sq.DequantizeOp) for value in values]
    read = [maker.input for maker in makers if maker is not None]
    is_known = isinstance(op, STEPS) or "sq.why_float" in op.attributes
    if not is_known and any(is_in_bytes(value) for value in read):
        reason = f"float32: there is no kernel of {op.name} on these bytes"
        op.attributes["sq.why_float"] = StringAttr(reason)


@dataclass
class Floats:
    """The float32 numbers of stored weights, each made once."""

    weights: WeightStore
    made: dict[SSAValue, SSAValue] = field(default_factory=dict[SSAValue, SSAValue])

    def of(self, stored: SSAValue) -> SSAValue:
        """A constant of what integers stand for."""
        if stored not in self.made:
            type_, array = sq.quant_type(stored), read_constant(stored, self.weights)
            assert type_ is not None
            assert array is not None
            numbers = dequantize(array, type_, self.weights)
            hint = f"{constant_name(stored)}.float"
            name = self.weights.add(hint, numbers)
            op = nn.ConstantOp(name, TensorType(f32, numbers.shape))
            maker = stored.owner
            assert isinstance(maker, Operation)
            assert maker.parent is not None
            maker.parent.insert_op_after(op, maker)
            self.made[stored] = op.result
        return self.made[stored]


@dataclass(frozen=True)
class IntegerLayers(ReportingPass):
    """Let layers whose input and weight are quantized multiply integers.

    **Before**

    ```mlir
    func.func @main(%x: tensor<1x4x2x2xf32>) -> tensor<1x1x2x2xf32> {
      %q = sq.quantize %x : (tensor<1x4x2x2xf32>)
        -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
      %a = sq.dequantize %q
        : (tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>)
        -> tensor<1x4x2x2xf32>
      %c = nn.constant "w"
        : tensor<1x4x1x1x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
      %w = sq.dequantize %c
        : (tensor<1x4x1x1x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>)
        -> tensor<1x4x1x1xf32>
      %y = nn.conv %a, %w {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x4x2x2xf32>, tensor<1x4x1x1xf32>) -> tensor<1x1x2x2xf32>
      func.return %y : tensor<1x1x2x2xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<1x4x2x2xf32>) -> tensor<1x1x2x2xf32> {
      %q = sq.quantize %x : (tensor<1x4x2x2xf32>)
        -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
      %c = nn.constant "w"
        : tensor<1x4x1x1x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
      %y = sq.conv %q, %c {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []}
        : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>,
        tensor<1x4x1x1x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
        -> tensor<1x1x2x2xf32>
      func.return %y : tensor<1x1x2x2xf32>
    }
    ```
    """

    name = "integer-layers"

    never: bool = False
    """Give all layers float32 weights."""
    sparse: bool = True
    """Leave very sparse layers to sparse kernels in float32, where these are faster."""
    lanes: int = 8
    """f32 lanes of a vector register."""
    registers: int = 16
    """Number of vector registers."""
    l1_bytes: int = 32768
    """Level 1 data cache of a core."""
    bounded: bool = False
    """The target has no dot product of bytes: pairs of products must fit 16 bits."""

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count layers in `integers` and `floats`, and activations made `unsigned`.

        `averages` are means of bytes, `resizes` interpolate them.
        """
        names = ("integers", "floats", "averages", "resizes", "unsigned")
        counts: dict[str, int] = dict.fromkeys(names, 0)
        floats = Floats(weights_of(ctx))
        for layer in list(op.walk()):
            stored = stored_of(layer.weight) if isinstance(layer, Layer) else None
            if stored is None or not isinstance(layer, Layer):
                continue
            reason = "integers are switched off"
            if not self.never:
                reason = why_float(layer, floats.weights)
            gain = None if reason is not None else self._gain(layer, floats.weights)
            if gain is not None and gain.is_float:
                reason = f"so sparse that it is faster, {gain}"
            if reason is None and isinstance(layer, nn.ConvOp | nn.LinearOp):
                new = integer_layer(layer)
                if gain is not None:
                    new.attributes["sq.why"] = StringAttr(f"integers: {gain}")
                Rewriter.replace_op(layer, new)
                counts["integers"] += 1
                continue
            layer.attributes["sq.why_float"] = StringAttr(f"float32: {reason}")
            layer.operands[1] = floats.of(stored)
            counts["floats"] += 1
        if not self.never:
            counts.update(take_others(op))
            explain_between(op)
        if counts["integers"] or counts["averages"] or counts["resizes"]:
            counts["unsigned"] = make_unsigned(op)
        erase_dead(op)
        return counts

    def _gain(self, layer: Layer, weights: WeightStore) -> Gain | None:
        """What is predicted where a sparse kernel could be faster."""
        stored = stored_of(layer.weight)
        if not self.sparse or stored is None or isinstance(layer, nn.ConvTransposeOp):
            return None
        if constant_name(stored) not in weights:  # IR without its weights
            return None
        array = read_constant(stored, weights)
        assert array is not None
        registers = Registers(self.lanes, self.registers)
        machine = Machine(registers, self.l1_bytes, self.bounded)
        return gain_of(layer, array, machine)
