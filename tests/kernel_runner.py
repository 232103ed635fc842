"""Running one kernel natively, and comparing it with the numpy interpreter."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.rewriter import Rewriter

from edgec.codegen.emit import emit_kernel
from edgec.codegen.jit import LoadedObject, compile_object, load_object
from edgec.context import EdgecContext
from edgec.dialects import nn, sq
from edgec.interpreter import interpret
from edgec.interpreter.arrays import dtype_of
from edgec.kernels.constants import ELEMENTS
from edgec.kernels.layout import Layout, layout
from edgec.kernels.lowered import KernelSpec, Packed
from edgec.kernels.lowering import lower
from edgec.runtime.buffers import address_of, aligned_zeros
from edgec.target import Target

Array = npt.NDArray[Any]
Allocate = Callable[[int, np.dtype[Any]], Array]

_FIRST = "i64 %thread, i64 %threads, ptr %scratch, ptr null, i64 0"
"""Arguments before the buffers; no counters, as no `lane.for_units` is tested."""

_WRAPPER = """
; Threads run one after the other, so a kernel with a barrier is not for this runner.
define void @run(i64 %thread, i64 %threads, ptr %scratch, ptr %args) {{
{loads}
  call void @"kernel.generic"({first}{names}, ptr null)
  ret void
}}
"""


@dataclass
class Native:
    """A compiled kernel."""

    code: LoadedObject
    scratch_bytes: int

    def run(
        self, buffers: Sequence[Array], threads: int = 1, only: int | None = None
    ) -> None:
        """Do the share of every thread, one after the other, or that of one."""
        pointers = (ctypes.c_void_p * len(buffers))(*map(address_of, buffers))
        signature = ctypes.CFUNCTYPE(
            None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p
        )
        run = signature(self.code.address("run"))
        for thread in range(threads) if only is None else [only]:
            scratch = aligned_zeros(self.scratch_bytes + 64)
            scratch[:] = 0xFF  # NaN
            run(thread, threads, address_of(scratch), ctypes.addressof(pointers))


@functools.lru_cache(maxsize=64)
def compiled(spec: KernelSpec, target: Target) -> Native:
    function = spec.build("generic", target.lanes)
    ModuleOp([function]).verify()
    kernel = emit_kernel(function, target)
    count = len(function.body.block.args) - 2
    loads = "\n".join(
        f"  %p{i} = getelementptr ptr, ptr %args, i64 {i}\n"
        f"  %a{i} = load ptr, ptr %p{i}"
        for i in range(count)
    )
    names = "".join(f", ptr %a{i}" for i in range(count))
    parts = [*kernel.definitions.values(), kernel.text]
    program = "\n".join(parts) + _WRAPPER.format(loads=loads, names=names, first=_FIRST)
    code = load_object(compile_object(program, target), target, ("run",))
    return Native(code, kernel.scratch_bytes)


def addresses(place: Layout) -> npt.NDArray[np.int64]:
    """Where each element of a tensor stands."""
    index = list(np.indices(place.shape)) if place.shape else []
    address = np.full(place.shape, place.origin)
    first = len(place.shape) - len(place.phase)
    for d, (i, stride) in enumerate(zip(index, place.strides, strict=True)):
        phase = place.phase[d - first] if d >= first else 1
        later = math.prod(place.phase[d - first + 1 :])
        spread = place.plane * later if phase > 1 else 0
        address = address + i % phase * spread + i // phase * stride
    return address


def scatter(array: Array, place: Layout, allocate: Allocate) -> Array:
    """The buffer of a tensor; NaN in gaps and after the end."""
    buffer = allocate(place.elements, array.dtype)
    buffer[...] = np.nan if array.dtype == np.float32 else -7
    buffer[addresses(place).reshape(-1)] = array.reshape(-1)
    return buffer


def heap(elements: int, dtype: np.dtype[Any]) -> Array:
    return np.zeros(elements, dtype)


class Case:
    """One op on some tensors, as a module of its own.

    The last inputs are constants in the weight store, called `constants`.
    """

    def __init__(
        self,
        make: Callable[..., Operation],
        inputs: Sequence[Array],
        *,
        inputs_in: Sequence[sq.LaneAttr | None] = (),
        result_in: sq.LaneAttr | None = None,
        constants: Sequence[str] = (),
    ) -> None:
        self.ctx, block = EdgecContext(), Block()
        encodings = [*inputs_in, *[None] * (len(inputs) - len(inputs_in))]
        names = [*[None] * (len(inputs) - len(constants)), *constants]
        self.inputs: list[Array] = []
        self.arrays: dict[SSAValue, Array] = {}
        for array, encoding, name in zip(inputs, encodings, names, strict=True):
            type_ = tensor_type(array, encoding)
            if name is None:
                value: SSAValue = block.insert_arg(type_, len(block.args))
                self.inputs.append(array)
            else:
                constant = nn.ConstantOp(self.ctx.weights.add(name, array), type_)
                block.add_op(constant)
                value = constant.result
            self.arrays[value] = array
        self.op = make(*self.arrays)
        block.add_op(self.op)
        self.result: SSAValue = self.op.results[0]
        if result_in is not None:
            old = nn.tensor_type(self.result)
            new = TensorType(old.element_type, old.get_shape(), result_in)
            self.result = Rewriter.replace_value_with_new_type(self.result, new)
        block.add_op(func.ReturnOp(self.result))
        types = ([argument.type for argument in block.args], [self.result.type])
        self.module = ModuleOp([func.FuncOp("main", types, Region(block))])
        self.module.verify()

    def expected(self) -> Array:
        """What the interpreter gives."""
        return interpret(self.module, self.inputs, self.ctx)[0]

    def run(
        self,
        target: Target,
        *,
        threads: Sequence[int] = (1, 2, 3),
        allocate: Allocate = heap,
    ) -> Array:
        """What the kernel gives; gaps must be zero, threads must not matter."""
        lowered = lower(self.op, self.ctx.weights, target.lanes)
        kernel = compiled(lowered.spec, target)
        buffers = [self._buffer(each, allocate) for each in lowered.arguments]
        place = layout(self.result)
        dtype = dtype_of(nn.tensor_type(self.result).element_type)
        found: list[Array] = []
        for count in threads:
            output = allocate(place.elements, dtype)
            output[...] = np.nan if dtype == np.float32 else -7
            kernel.run([*buffers, output], count)
            check_gaps(output, place)
            found.append(output[addresses(place)])
        for other in found[1:]:
            assert other.tobytes() == found[0].tobytes(), "depends on threads"
        return found[0]

    def _buffer(self, argument: SSAValue | Packed, allocate: Allocate) -> Array:
        if not isinstance(argument, Packed):
            return scatter(self.arrays[argument], layout(argument), allocate)
        buffer = allocate(argument.array.size, argument.array.dtype)
        buffer[...] = argument.array.reshape(-1)
        return buffer


def tensor_type(array: Array, encoding: sq.LaneAttr | None) -> TensorType[Attribute]:
    element = ELEMENTS[array.dtype]
    if encoding is None:
        return TensorType(element, array.shape)
    return TensorType(element, array.shape, encoding)


def check_gaps(output: Array, place: Layout) -> None:
    """Gaps are zero and what follows the tensor is as it was."""
    is_gap = np.ones(output.shape, bool)
    is_gap[addresses(place).reshape(-1)] = False
    end = place.elements - place.slack
    assert not np.any(output[:end][is_gap[:end]]), "gaps must be zero"
    if output.dtype == np.float32:
        assert np.all(np.isnan(output[end:])), "stored beyond the tensor"
