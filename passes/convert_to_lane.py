"""What: turn every tensor op into a launch of a kernel on flat buffers.

Why: from here on the program is what the machine does: loops, loads, register blocks;
layers of equal shape share one kernel, so code grows with distinct layers only.

How: `@main` gets the inputs, then the results, as flat buffers. Each op names a kernel
spec and its arguments (`edgec.kernels`); equal specs become one function. Weights are
packed for their kernel and named in the weight store. An op of movement whose result
lies where its input lies (a reshape between plain tensors, or what
`eliminate-data-movement` arranged) is the same buffer, and a part of a concatenation
may be written in the buffer of the whole. A result that is an input, a constant or used
elsewhere too is copied.

Invariants: needs one `@main` without nested regions whose ops all have a kernel; leaves
`lane`, `scf`, `arith` and `func` only. `edgec.inputs` and `edgec.outputs` on `@main`
keep the tensor types.

Source: BLIS (Van Zee and van de Geijn, 2015) for micro-kernels around packed operands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xdsl.context import Context
from xdsl.dialects import func
from xdsl.dialects.builtin import (
    ArrayAttr,
    FunctionType,
    MemRefType,
    ModuleOp,
    StringAttr,
    i32,
)
from xdsl.ir import Block, Operation, Region, SSAValue

from edgec.context import WeightStore, weights_of
from edgec.dialects import lane, nn
from edgec.errors import PassFailed
from edgec.kernels.constants import (
    ELEMENTS,
    constant_array,
    is_weight,
    num_elements,
)
from edgec.kernels.layout import is_in_lanes, layout
from edgec.kernels.lowered import KernelSpec, Lowered, Packed
from edgec.kernels.lowering import find_lowering, lower, lower_copy
from edgec.kernels.operands import in_place, layout_of
from edgec.kernels.strides import View, is_same_place, seen_through
from edgec.passes.base import ReportingPass


@dataclass
class Program:
    """The module under construction."""

    weights: WeightStore
    lanes: int
    main: Block
    buffers: dict[SSAValue, SSAValue] = field(default_factory=dict[SSAValue, SSAValue])
    kernels: dict[KernelSpec, func.FuncOp] = field(
        default_factory=dict[KernelSpec, func.FuncOp]
    )
    bound: dict[str, SSAValue] = field(default_factory=dict[str, SSAValue])
    launches: int = 0
    build: bool = True
    """Off to bind weights without building kernels."""

    def launch(self, lowered: Lowered, results: Sequence[SSAValue], layer: str) -> None:
        """Launch a kernel that writes `results`."""
        arguments = [self.argument(a) for a in lowered.arguments]
        kernel = self.kernel(lowered.spec)
        self.main.add_op(lane.LaunchOp(kernel, [*arguments, *results], layer))
        self.launches += 1

    def kernel(self, spec: KernelSpec) -> str:
        """The symbol of the kernel of a spec, built when it is first needed."""
        if not self.build:
            return "unbuilt"
        if spec not in self.kernels:
            kind = _snake(type(spec).__name__)
            name = f"{kind}_{len(self.kernels)}"
            self.kernels[spec] = spec.build(name, self.lanes)
        return self.kernels[spec].sym_name.data

    def argument(self, argument: SSAValue | Packed) -> SSAValue:
        """The buffer of a tensor, or of an array of weights."""
        if isinstance(argument, Packed):
            return self.bind(argument)
        if argument not in self.buffers and isinstance(argument.owner, nn.ConstantOp):
            array = constant_array(argument.owner, self.weights)
            self.buffers[argument] = self.bind(Packed("constant", array.reshape(-1)))
        return self.buffers[argument]

    def bind(self, packed: Packed) -> SSAValue:
        """`lane.weights` of an array, one per name."""
        name = self.weights.add(packed.name, packed.array)
        if name not in self.bound:
            element = ELEMENTS[packed.array.dtype]
            type_ = lane.buffer_type(packed.array.size, element)
            op = lane.WeightsOp(name, type_)
            self.main.add_op(op)
            self.bound[name] = op.result
        return self.bound[name]

    def buffer(self, value: SSAValue) -> SSAValue:
        """A new activation buffer for a tensor, or for all of what it is a part of."""
        home = home_of(value)
        if value not in self.buffers and home is not value:
            self.buffers[value] = self.buffer(home)
        if value not in self.buffers:
            op = lane.BufferOp(buffer_type_of(value))
            self.main.add_op(op)
            self.buffers[value] = op.result
        return self.buffers[value]


def buffer_type_of(value: SSAValue) -> MemRefType:
    """The flat buffer that holds a tensor in its layout."""
    element = i32 if is_in_lanes(value) else nn.tensor_type(value).element_type
    return lane.buffer_type(layout(value).elements, element)


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).strip("_")


def is_alias(op: Operation) -> bool:
    """Whether the result of an op is its input, seen otherwise: nothing to do."""
    if not isinstance(op, View):
        return False
    view = seen_through(op, layout_of(op.input))
    return view is not None and is_same_place(view, layout_of(op.result))


def home_of(value: SSAValue) -> SSAValue:
    """The tensor in whose buffer `value` is written: a concatenation, or itself."""
    for use in value.uses:
        op = use.operation
        if isinstance(op, nn.ConcatOp) and in_place(op)[use.index]:
            return home_of(op.result)
    return value


def check_supported(operations: list[Operation]) -> None:
    """Raise one error that lists every op without a kernel."""
    missing = sorted(
        {op.name for op in operations if not (is_alias(op) or find_lowering(op))}
    )
    if missing:
        raise PassFailed(
            f"no kernel for {', '.join(missing)}; compile a model without them, or add "
            "a lowering in edgec/kernels"
        )


@dataclass(frozen=True)
class ConvertToLane(ReportingPass):
    """Replace `@main` on tensors by launches of kernels.

    **Before**

    ```mlir
    func.func @main(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
      %y = nn.unary relu %x {nn.path = "act"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
      func.return %y : tensor<2x4xf32>
    }
    ```

    **After**

    ```mlir
    func.func @elementwise_0(%thread: index, %threads: index, %x: memref<8xf32>,
                             %y: memref<8xf32>) {
      %one = arith.constant 1 : index
      %zero = arith.constant 0 : index
      %begin = arith.divui %thread, %threads : index
      %next = arith.addi %thread, %one : index
      %end = arith.divui %next, %threads : index
      scf.for %unit = %begin to %end step %one {
        %v = lane.load %x[%zero] : memref<8xf32>, vector<8xf32>
        %r = lane.unary relu %v : vector<8xf32>
        lane.store %r, %y[%zero] : vector<8xf32>, memref<8xf32>
      }
      func.return
    }
    func.func @main(%x: memref<8xf32>, %y: memref<8xf32>) attributes {
      edgec.inputs = [tensor<2x4xf32>], edgec.outputs = [tensor<2x4xf32>]} {
      lane.launch @elementwise_0(%x, %y) {layer = "act"} : memref<8xf32>, memref<8xf32>
      func.return
    }
    ```
    """

    name = "convert-to-lane"

    lanes: int = 8
    """f32 lanes of a vector register."""

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count launches and distinct kernels."""
        old = find_main(op)
        if old is None:
            return {"launches": 0, "kernels": 0}
        inputs, outputs = old.function_type.inputs, old.function_type.outputs
        program = Program(weights_of(ctx), self.lanes, Block())
        convert(old.body.block, program)
        arguments = [value.type for value in program.main.args]
        new = func.FuncOp(
            "main", FunctionType.from_lists(arguments, []), Region(program.main)
        )
        new.attributes["edgec.inputs"] = ArrayAttr(inputs)
        new.attributes["edgec.outputs"] = ArrayAttr(outputs)
        block = op.body.block
        for kernel in program.kernels.values():
            block.insert_op_before(kernel, old)
        block.insert_op_before(new, old)
        old.detach()
        old.erase()
        return {"launches": program.launches, "kernels": len(program.kernels)}


def bind_weights(module: ModuleOp, ctx: Context, lanes: int) -> tuple[str, ...]:
    """Pack the weights that the kernels of a tensor-level module will name.

    Returns `weight_uses` of the converted module.
    """
    main = find_main(module)
    if main is None:
        raise PassFailed("bind_weights needs a module that is not yet converted")
    program = Program(weights_of(ctx), lanes, Block(), build=False)
    convert(main.body.block, program)
    return weight_uses(program.main)


def weight_uses(main: Block) -> tuple[str, ...]:
    """The name of every array that launches read, launch by launch, with repeats.

    Equal content is stored once, so which arguments share a name depends on the
    weights: two modules with the same text and the same set of names may differ here.
    """
    arguments = (
        argument.owner
        for op in main.ops
        if isinstance(op, lane.LaunchOp)
        for argument in op.arguments
    )
    return tuple(
        owner.resource.data for owner in arguments if isinstance(owner, lane.WeightsOp)
    )


def find_main(module: ModuleOp) -> func.FuncOp | None:
    """`@main` on tensors; None if it has been converted."""
    for op in module.body.block.ops:
        if isinstance(op, func.FuncOp) and op.sym_name.data == "main":
            return None if "edgec.inputs" in op.attributes else op
    raise PassFailed("the module must have a func.func @main")


def convert(block: Block, program: Program) -> None:
    """Fill `program` from the ops of the tensor-level `@main`."""
    last = block.last_op
    assert isinstance(last, func.ReturnOp)
    operations = [op for op in block.ops if op is not last and not is_weight(op)]
    check_supported(operations)
    for value in block.args:
        argument = program.main.insert_arg(
            buffer_type_of(value), len(program.main.args)
        )
        argument.name_hint = value.name_hint
        program.buffers[value] = argument
    copies: list[tuple[SSAValue, SSAValue]] = []
    for value in last.operands:
        kind = lane.buffer_type(num_elements(value), nn.tensor_type(value).element_type)
        target = program.main.insert_arg(kind, len(program.main.args))
        target.name_hint = value.name_hint
        if is_own(value) and value not in program.buffers:
            program.buffers[value] = target
        else:
            copies.append((value, target))
    for op in operations:
        convert_op(op, program)
    for value, target in copies:
        program.launch(lower_copy(value), [target], "result")
    program.main.add_op(func.ReturnOp())


def is_own(value: SSAValue) -> bool:
    """Whether a result can be written straight into the caller's buffer."""
    owner = value.owner
    if isinstance(owner, Block) or is_weight(owner):
        return False
    return len(list(value.uses)) == 1 and not is_alias(owner)


def convert_op(op: Operation, program: Program) -> None:
    """One op: an alias, or a launch."""
    if is_alias(op):
        program.buffers[op.results[0]] = program.argument(op.operands[0])
        return
    if isinstance(op, nn.ConcatOp) and all(in_place(op)):
        program.buffer(op.result)
        return
    path = op.attributes.get("nn.path")
    layer = path.data if isinstance(path, StringAttr) else op.name
    lowered = lower(op, program.weights, program.lanes)
    program.launch(lowered, [program.buffer(r) for r in op.results], layer)
