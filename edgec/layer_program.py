"""Programs of single layers, as they are measured: a layer of a model by itself.

The layer's inputs are the program's, so there are copies around it: into a layout with
gaps and back, and of integers or bfloat16 from float32 numbers and back. They are the
same for all schedules of a family.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import ModuleOp, TensorType, bf16, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, OpResult, SSAValue

from edgec.codegen.entry import ENTRY_SYMBOL
from edgec.codegen.intrinsics.amx import Product, has_tiles
from edgec.codegen.jit import load_object
from edgec.context import EdgecContext, WeightStore
from edgec.dialects import nn, sq
from edgec.interpreter.arrays import dtype_of
from edgec.kernels.cost import Registers
from edgec.kernels.cost_columns import turn_cycles
from edgec.kernels.layout import is_in_lanes, stored_shape
from edgec.options import Options
from edgec.passes.analysis.choices import TURNED, Layer
from edgec.passes.analysis.layer_key import layer_key
from edgec.passes.analysis.predict import families_of, predict_linear
from edgec.passes.analysis.schedules import Machine, alternate, schedules
from edgec.passes.constants import decode_weight
from edgec.pipeline import run_passes, tensor_passes
from edgec.program import build_program
from edgec.runtime.executable import Executable, ProgramSpec, TensorSpec
from edgec.target import Target
from edgec.tuning_log import Entry

Array = npt.NDArray[np.generic]

CHOICE = "choose-kernel"
"""The pass before which layers are taken out."""


@dataclass(frozen=True)
class LayerModule:
    """A layer alone in `@main`, before anything is chosen for it."""

    key: str
    """`edgec.passes.analysis.layer_key`."""
    module: ModuleOp
    ctx: EdgecContext

    @property
    def is_rounded(self) -> bool:
        """Whether its results are rounded to bfloat16."""
        return sq.has_bf16(_layer(self.module).result)

    def copy(self) -> tuple[ModuleOp, EdgecContext]:
        """A module to rewrite, in a context to which weights can be added."""
        ctx = self.ctx.clone()
        ctx.weights, ctx.tuned = WeightStore(), {}
        for name in self.ctx.weights:
            ctx.weights.add(name, self.ctx.weights[name])
        return self.module.clone(), ctx


@dataclass(frozen=True)
class Candidate:
    """A family with a schedule, and the predicted cycles of one core for one image."""

    family: str
    settings: dict[str, int]
    cycles: float

    @property
    def label(self) -> str:
        """Family and settings as text."""
        settings = (f"{name}={value}" for name, value in sorted(self.settings.items()))
        return " ".join([self.family, *settings])


def layers_of(module: ModuleOp, target: Target) -> list[Layer]:
    """Layers that can run in several ways on a target, with weights that are known."""
    layers = [op for op in module.walk() if isinstance(op, sq.ConvOp | sq.LinearOp)]
    return [
        op
        for op in layers
        if isinstance(op.weight.owner, nn.ConstantOp | sq.WeightOp)
        and (isinstance(op, sq.ConvOp) or _has_choice(op, target))
    ]


def _has_choice(op: sq.LinearOp, target: Target) -> bool:
    """Whether a linear layer has several families; tiles are counted later."""
    product = Product.PAIRS if sq.has_bf16(op.input) else Product.BYTES
    is_tiled = is_in_lanes(op.input) and len(nn.shape_of(op.input)) == 2
    return len(families_of(op)) > 1 or (is_tiled and has_tiles(target, product))


def isolate(op: Layer, ctx: EdgecContext) -> LayerModule:
    """A copy of a layer alone; its tensors are arguments."""
    tensors = dict.fromkeys((op.input, *op.extras))
    arguments = [v for v in tensors if not isinstance(v.owner, nn.ConstantOp)]
    function = FuncOp("main", ([_float_type(value) for value in arguments], ()))
    block = function.body.block
    known: dict[SSAValue, SSAValue] = dict(zip(arguments, block.args, strict=True))
    for value in arguments:
        type_ = sq.quant_type(value)
        if type_ is not None:
            quantize = sq.QuantizeOp(known[value], type_)
            block.add_op(quantize)
            known[value] = quantize.result
        elif sq.has_bf16(value):
            cast = nn.CastOp(known[value], bf16)
            block.add_op(cast)
            known[value] = cast.result
    for operand in op.operands:
        if operand not in known:
            assert isinstance(operand, OpResult)
            constant = operand.op.clone()
            block.add_op(constant)
            known[operand] = constant.results[0]
    layer = op.clone(known)
    block.add_op(layer)
    result = layer.results[0]
    if sq.has_integers(result):
        dequantize = sq.DequantizeOp(result)
        block.add_op(dequantize)
        result = dequantize.result
    elif sq.has_bf16(result):
        cast = nn.CastOp(result, f32)
        block.add_op(cast)
        result = cast.result
    block.add_op(ReturnOp(result))
    function.update_function_type()
    return LayerModule(layer_key(op, ctx.weights), ModuleOp([function]), ctx)


def _float_type(value: SSAValue) -> Attribute:
    """The type of what a tensor of integers or of bfloat16 is rounded from."""
    if not sq.has_integers(value) and not sq.has_bf16(value):
        return value.type
    return TensorType(f32, nn.shape_of(value))


def compile_layer(
    layer: LayerModule, target: Target, entry: Entry | None, threads: int
) -> Executable:
    """The layer with what an entry says, or else as it is chosen without one."""
    module, ctx = layer.copy()
    if entry is not None:
        ctx.tuned = {layer.key: entry}
    options = Options()
    passes = tensor_passes(options, target)
    first = [pass_.name for pass_ in passes].index(CHOICE)
    inputs, outputs = _specs(module)
    run_passes(passes[first:], ctx, module)
    program = build_program(module, ctx, target, options, None).program
    code = load_object(program.code, target, (ENTRY_SYMBOL,))
    return Executable(
        code.address(ENTRY_SYMBOL),
        ProgramSpec(
            inputs, outputs, program.arena_bytes, program.scratch_bytes_per_thread
        ),
        [ctx.weights[name] for name in program.weight_names],
        code=code,
        threads=threads,
    )


def _specs(
    module: ModuleOp,
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    main = next(op for op in module.walk() if isinstance(op, FuncOp))
    last = main.body.block.last_op
    assert last is not None

    def specs(values: Sequence[SSAValue], name: str) -> tuple[TensorSpec, ...]:
        types = [nn.tensor_type(value) for value in values]
        return tuple(
            TensorSpec(f"{name}{k}", type_.get_shape(), dtype_of(type_.element_type))
            for k, type_ in enumerate(types)
        )

    return specs(main.body.block.args, "input"), specs(last.operands, "output")


def candidates(layer: LayerModule, target: Target) -> list[Candidate]:
    """What the layer can run as; what is chosen without a log first.

    Then the families take turns, each with its best by prediction first.
    """
    passes = tensor_passes(Options(), target)
    first = [pass_.name for pass_ in passes].index(CHOICE)
    module, ctx = layer.copy()
    run_passes(passes[first : first + 1], ctx, module)
    chosen = _layer(module).kernel
    usual = "dense" if chosen is None else chosen.family.data
    # In lanes, what there is to choose from is known once columns are counted.
    known = module if is_in_lanes(_layer(module).input) else layer.module
    found = {
        family: _candidates(layer, family, target)
        for family in families_of(_layer(known))
    }
    return alternate([found.pop(usual), *found.values()])


def _candidates(layer: LayerModule, family: str, target: Target) -> list[Candidate]:
    """Those of one family, the best by prediction first."""
    module, ctx = layer.copy()
    op = _layer(module)
    registers = Registers(target.lanes, target.registers)
    turning = 0.0
    if isinstance(op, sq.LinearOp):
        if family not in TURNED:
            return [Candidate(family, {}, predict_linear(op, registers)[family])]
        *lead, channels = stored_shape(op.input)
        rows, filters = math.prod(lead), stored_shape(op.result)[-1]
        turning = turn_cycles(rows, channels) + turn_cycles(filters, rows)
    elif family == "dense" and isinstance(op.weight.owner, sq.WeightOp):
        decode_weight(op, ctx.weights)
    passes = tensor_passes(Options(), target)
    first = [pass_.name for pass_ in passes].index(CHOICE)
    if is_in_lanes(op.input):
        # The pass counts what kernels keep.
        run_passes(passes[first : first + 1], ctx, module)
        op = _layer(module)
    op.properties["kernel"] = sq.KernelAttr.of(family, {})
    run_passes(passes[first + 1 :], ctx, module)
    conv = _layer(module)
    assert isinstance(conv, sq.ConvOp)
    machine = Machine(registers, target.l1d_bytes, target.l2_bytes)
    return [
        Candidate(family, dict(each.settings), each.cycles + turning)
        for each in schedules(conv, machine)
    ]


def _layer(module: ModuleOp) -> Layer:
    """The one layer of a module."""
    return next(op for op in module.walk() if isinstance(op, sq.ConvOp | sq.LinearOp))


def random_inputs(specs: Sequence[TensorSpec]) -> list[Array]:
    """Normal floats, the same at every call."""
    generator = np.random.default_rng(0)
    return [generator.standard_normal(spec.shape, np.float32) for spec in specs]
