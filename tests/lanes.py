"""Run one kernel twice: by the interpreter, and as machine code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from xdsl.dialects import func
from xdsl.dialects.builtin import (
    ArrayAttr,
    FunctionType,
    MemRefType,
    ModuleOp,
    TensorType,
)
from xdsl.ir import Attribute, Block, Region
from xdsl.utils.hints import isa

from edgec.codegen.emit import emit_module
from edgec.codegen.host import host_features
from edgec.codegen.jit import compile_object, load_object
from edgec.context import EdgecContext
from edgec.dialects import lane
from edgec.interpreter import interpret
from edgec.interpreter.arrays import dtype_of
from edgec.runtime.executable import Executable, ProgramSpec, TensorSpec
from edgec.target import Target

Array = npt.NDArray[np.generic]
# The element type is known at run time only, from the type of the buffer.
AnyArray = npt.NDArray[Any]


@cache
def runnable_targets() -> tuple[Target, ...]:
    """A target for each register width that this machine can run."""
    names = ("generic", "x86-64-v3", "x86-64-v4", "aarch64")
    features = host_features()
    native = Target.native(features)
    found = [Target.parse(name) for name in names]
    return tuple(
        target
        for target in found
        if target.architecture == native.architecture
        and not target.missing_on(features)
    )


def unfused(target: Target) -> Target:
    """The same machine without fused multiply-add."""
    return replace(target, features=target.features - {"fma", "neon"})


def program(kernel: func.FuncOp, num_inputs: int) -> ModuleOp:
    """A module whose `@main` launches `kernel` on its arguments.

    The first `num_inputs` buffers are inputs, the others outputs, all of rank 1.
    """
    types = [argument.type for argument in kernel.body.block.args[2:]]
    block = Block(arg_types=types)
    block.add_op(lane.LaunchOp(kernel.sym_name.data, block.args))
    block.add_op(func.ReturnOp())
    main = func.FuncOp("main", FunctionType.from_lists(types, []), Region(block))
    tensors = [_tensor(type_) for type_ in types]
    main.attributes["edgec.inputs"] = ArrayAttr(tensors[:num_inputs])
    main.attributes["edgec.outputs"] = ArrayAttr(tensors[num_inputs:])
    return ModuleOp([kernel, main])


def _tensor(type_: Attribute) -> TensorType[Attribute]:
    assert isa(type_, MemRefType[Attribute])
    return TensorType(type_.element_type, type_.get_shape())


def compiled(
    module: ModuleOp,
    target: Target,
    weights: Mapping[str, Array] | None = None,
    threads: int = 1,
) -> Executable:
    """The module's program, ready to be called."""
    emitted = emit_module(module, target)
    loaded = load_object(compile_object(emitted.text, target), target, ("edgec_entry",))
    (main,) = (
        op
        for op in module.ops
        if isinstance(op, func.FuncOp) and op.sym_name.data == "main"
    )
    return Executable(
        loaded.address("edgec_entry"),
        ProgramSpec(
            _specs(main.attributes["edgec.inputs"]),
            _specs(main.attributes["edgec.outputs"]),
            emitted.arena_bytes,
            emitted.scratch_bytes_per_thread,
        ),
        [(weights or {})[name] for name in emitted.weight_names],
        code=loaded,
        threads=threads,
    )


def _specs(types: Attribute) -> tuple[TensorSpec, ...]:
    assert isa(types, ArrayAttr[TensorType[Attribute]])
    return tuple(
        TensorSpec(str(number), type_.get_shape(), dtype_of(type_.element_type))
        for number, type_ in enumerate(types)
    )


def run_both(
    module: ModuleOp, inputs: Sequence[Array], target: Target
) -> tuple[list[AnyArray], list[AnyArray]]:
    """What the machine code gives, and what the interpreter gives."""
    module.verify()
    expected = interpret(module, inputs, EdgecContext())
    return compiled(module, target)(inputs), list(expected)
