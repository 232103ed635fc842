"""What the rules in `aten_*.py` are written with: ops, constants, small helpers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from xdsl.dialects.builtin import (
    DenseIntOrFPElementsAttr,
    FixedBitwidthType,
    StringAttr,
    TensorType,
    f32,
    i64,
)
from xdsl.ir import Attribute, Block, Operation, SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn
from edgec.importer.problems import Problem, Unsupported

Scalar = bool | int | float
Operand = SSAValue | Scalar

ELEMENT_TYPES: dict[torch.dtype, FixedBitwidthType] = {
    torch.float32: f32,
    torch.int64: i64,
}
"""The dtypes of tensors in `nn`; int64 only for positions and their shapes."""


LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class _Constant:
    op: nn.ConstantOp
    tensor: torch.Tensor
    """Keeps the memory alive whose address is the key in `Builder._constants`."""
    hint: str


class Builder:
    """Appends `nn` ops to a block, labelled with the fx node at hand."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.path = ""
        """Module path of the fx node at hand."""
        self.source = ""
        """`file.py:12` of the fx node at hand."""
        self.shape: tuple[int, ...] = ()
        """Shape of the (first) result of the fx node at hand."""
        self.dtype: torch.dtype = torch.float32
        """Dtype of the (first) result of the fx node at hand."""
        self.weights = WeightStore()
        """Where arrays go that types name; other constants follow at the end."""
        self._constants: dict[object, _Constant] = {}
        self._by_value: dict[SSAValue, torch.Tensor] = {}
        self._later: dict[SSAValue, Callable[[], torch.Tensor]] = {}
        self.stored: str | None = None
        """While a stored weight is imported: a name for its arrays."""
        self._scalars: dict[str, SSAValue] = {}

    def emit(self, op: Operation, part: str = "") -> SSAValue:
        """Append `op`, labelled with where it comes from; its result.

        `part` names the parameter if the module has several weights.
        """
        path = ".".join(filter(None, (self.path, part)))
        if path:
            op.attributes["nn.path"] = StringAttr(path)
        if self.source:
            op.attributes["nn.source"] = StringAttr(self.source)
        self.block.add_op(op)
        return op.results[0]

    # Constants

    def constant(self, tensor: torch.Tensor, hint: str) -> SSAValue:
        """A constant; equal views of the same memory are one op.

        Rank 0 stands in the IR, anything else goes to the weight store under a name
        like `hint` once it is known to be used (`store_constants`).
        """
        if tensor.dtype not in ELEMENT_TYPES:
            raise Unsupported(
                f"constant '{hint}' has dtype {tensor.dtype}",
                dtype_advice(tensor.dtype),
            )
        if tensor.dim() == 0:
            return self._inline(tensor, hint)
        key = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        found = self._constants.get(key)
        if found is None:
            type_ = TensorType(ELEMENT_TYPES[tensor.dtype], tensor.shape)
            found = _Constant(nn.ConstantOp(hint, type_), tensor, hint)
            self.block.add_op(found.op)
            self._constants[key] = found
            self._by_value[found.op.result] = tensor
        return found.op.result

    def scalar(self, value: Scalar) -> SSAValue:
        """A float32 constant of rank 0; one op per value."""
        value = float(value)
        # Written so that it holds for NaN, too.
        if not abs(value) <= LARGEST:
            raise Unsupported(
                f"the number {value:g}", "use a number that is finite in float32"
            )
        # As text, since 0.0 == -0.0.
        key = repr(value)
        if key not in self._scalars:
            self._scalars[key] = self._dense(value, TensorType(f32, []))
        return self._scalars[key]

    def integers(self, tensor: torch.Tensor, hint: str, element: Attribute) -> SSAValue:
        """A constant of a quantized type."""
        key = (tensor.data_ptr(), str(element), tensor.shape, tensor.stride())
        if key not in self._constants:
            op = nn.ConstantOp(hint, TensorType(element, tensor.shape))
            self.block.add_op(op)
            self._constants[key] = _Constant(op, tensor, hint)
        return self._constants[key].op.result

    def know(self, value: SSAValue, tensor: Callable[[], torch.Tensor]) -> None:
        """Say what a value is, to whom asks."""
        self._later[value] = tensor

    def is_constant(self, value: SSAValue) -> bool:
        """Whether `constant_of` gives a tensor."""
        return value in self._by_value or value in self._later

    def constant_of(self, value: SSAValue) -> torch.Tensor | None:
        """The tensor behind a value that `constant` made; None for others."""
        if value in self._later:
            return self._later[value]()
        return self._by_value.get(value)

    def erase_dead(self) -> None:
        """Erase every op that nothing uses; call it when the block is complete."""
        for op in reversed(list(self.block.ops)):
            if op.results and not any(result.uses for result in op.results):
                op.detach()
                op.erase()

    def store_constants(self, weights: WeightStore) -> list[Problem]:
        """Put the constants that are still there into `weights`.

        Returns one problem for each that holds a NaN, or an infinity that is not just
        added to something, as masks of attention are.
        """
        problems: list[Problem] = []
        for constant in self._constants.values():
            if constant.op.parent is None:
                continue
            if not (is_finite(constant.tensor) or _is_mask(constant)):
                problems.append(not_finite(constant.hint, constant.tensor))
                continue
            array = constant.tensor.detach().contiguous().numpy()
            name = weights.add(constant.hint, array)
            constant.op.properties["value"] = StringAttr(name)
        return problems

    def _inline(self, tensor: torch.Tensor, hint: str) -> SSAValue:
        if not is_finite(tensor):
            raise Unsupported(
                f"constant '{hint}' is {tensor.item()}", "use a finite constant"
            )
        if tensor.dtype == torch.float32:
            value = self.scalar(tensor.item())
        else:
            value = self._dense(tensor.item(), TensorType(i64, []))
        self._by_value[value] = tensor
        return value

    def _dense(self, value: Scalar, type_: TensorType[Any]) -> SSAValue:
        dense = DenseIntOrFPElementsAttr.from_list(type_, [value])
        op = nn.ConstantOp(dense, type_)
        self.block.add_op(op)
        return op.result

    # Small helpers that many rules share

    def value(self, operand: Operand) -> SSAValue:
        """`operand` itself, or a rank-0 constant for a number."""
        return operand if isinstance(operand, SSAValue) else self.scalar(operand)

    def unary(self, kind: str, x: SSAValue, *params: float) -> SSAValue:
        """`nn.unary kind x`."""
        return self.emit(nn.UnaryOp(kind, x, params))

    def binary(self, kind: str, lhs: Operand, rhs: Operand) -> SSAValue:
        """`nn.binary kind lhs, rhs`; numbers become constants."""
        return self.emit(nn.BinaryOp(kind, self.value(lhs), self.value(rhs)))

    def scaled(self, x: Operand, factor: Scalar) -> Operand:
        """`x * factor`, which is `x` itself for 1."""
        if factor == 1:
            return x
        return self.binary("mul", x, factor)

    def linear(
        self,
        x: SSAValue,
        weight: SSAValue,
        bias: SSAValue | None = None,
        part: str = "",
    ) -> SSAValue:
        """`x weight^T + bias`; a product of two tensors if the weight is computed.

        `part` as for `emit`.
        """
        if self.is_constant(weight):
            return self.emit(nn.LinearOp(x, weight, bias), part)
        shape = nn.shape_of(x)
        rows = self.reshape(x, (1, *shape)) if len(shape) == 1 else x
        y = self.emit(nn.MatmulOp(rows, self.transpose(weight, (1, 0))))
        y = self.reshape(y, (*shape[:-1], nn.shape_of(weight)[0]))
        return y if bias is None else self.binary("add", y, bias)

    def require_constant(self, weight: SSAValue) -> None:
        """Refuse a weight that the model computes, for ops whose kernels pack it."""
        if not self.is_constant(weight):
            raise Unsupported(
                "its weight is computed by the model",
                "compute the weight before the model is exported",
            )

    def reshape(self, x: SSAValue, shape: Sequence[int]) -> SSAValue:
        """`x` in another shape; a reshaped constant stays a constant."""
        if nn.shape_of(x) == tuple(shape):
            return x
        tensor = self.constant_of(x)
        if tensor is not None:
            return self.constant(tensor.reshape(tuple(shape)), self.hint_of(x))
        return self.emit(nn.ReshapeOp(x, shape))

    def transpose(self, x: SSAValue, permutation: Sequence[int]) -> SSAValue:
        """`x` with permuted dimensions; a permuted constant stays a constant."""
        if list(permutation) == list(range(len(permutation))):
            return x
        tensor = self.constant_of(x)
        if tensor is not None:
            return self.constant(tensor.permute(*permutation), self.hint_of(x))
        return self.emit(nn.TransposeOp(x, permutation))

    def slice(
        self, x: SSAValue, axis: int, start: int, size: int, step: int = 1
    ) -> SSAValue:
        """`size` entries of `x` along one axis."""
        shape = nn.shape_of(x)
        if (start, size, step) == (0, shape[axis], 1):
            return x
        starts, sizes, steps = [0] * len(shape), list(shape), [1] * len(shape)
        starts[axis], sizes[axis], steps[axis] = start, size, step
        return self.emit(nn.SliceOp(x, starts, sizes, steps))

    def concat(self, values: Sequence[SSAValue], axis: int) -> SSAValue:
        """`values` one after the other along `axis`."""
        return values[0] if len(values) == 1 else self.emit(nn.ConcatOp(values, axis))

    def broadcast(self, x: SSAValue, shape: Sequence[int]) -> SSAValue:
        """`x` repeated to `shape` under numpy's rules."""
        if nn.shape_of(x) == tuple(shape):
            return x
        return self.emit(nn.BroadcastOp(x, shape))

    def filled(
        self, value: SSAValue | None, fill: float, shape: Sequence[int]
    ) -> SSAValue:
        """`value`, or where it is missing a tensor full of `fill`."""
        if value is not None:
            return value
        key = ("filled", fill, tuple(shape))
        if key not in self._constants:
            hint = f"filled.{fill:g}.{'x'.join(map(str, shape))}"
            tensor = torch.full(tuple(shape), fill)
            op = nn.ConstantOp(hint, TensorType(f32, shape))
            self.block.add_op(op)
            self._constants[key] = _Constant(op, tensor, hint)
            self._by_value[op.result] = tensor
        return self._constants[key].op.result

    def cast(self, x: SSAValue) -> SSAValue:
        """`x` with the dtype of the result at hand."""
        element = ELEMENT_TYPES[self.dtype]
        if nn.tensor_type(x).element_type == element:
            return x
        return self.emit(nn.CastOp(x, element))

    def hint_of(self, value: SSAValue) -> str:
        """The name that a stored constant was given."""
        owner = value.owner
        if isinstance(owner, nn.ConstantOp) and isinstance(owner.value, StringAttr):
            return owner.value.data
        return "constant"


def axis_of(axis: int, rank: int) -> int:
    """`axis` counted from the front."""
    return axis + max(rank, 1) if axis < 0 else axis


def axes_of(axes: int | Sequence[int] | None, rank: int) -> list[int]:
    """`axes` counted from the front; all of them for None or an empty list."""
    axes = [axes] if isinstance(axes, int) else axes
    if not axes:
        return list(range(rank))
    return [axis_of(axis, rank) for axis in axes]


def spread(values: int | Sequence[int], count: int) -> list[int]:
    """One number per spatial dimension; a single one stands for all."""
    values = [values] if isinstance(values, int) else list(values)
    return values * count if len(values) == 1 else values


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether no element is NaN or infinite; one pass, no temporary array."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = torch.aminmax(tensor.detach())
    return math.isfinite(low.item()) and math.isfinite(high.item())


def _is_mask(constant: _Constant) -> bool:
    """Whether infinities are all that is not finite, and all uses are elementwise."""
    moves = (nn.BinaryOp, nn.BroadcastOp, nn.ReshapeOp, nn.SliceOp)
    return not constant.tensor.isnan().any() and all(
        isinstance(use.operation, moves) for use in constant.op.result.uses
    )


def not_finite(name: str, tensor: torch.Tensor) -> Problem:
    """The problem of a weight with NaN or infinite values."""
    count = int((~torch.isfinite(tensor)).sum())
    return Problem(
        f"weight '{name}'",
        f"{count} of {tensor.numel()} values are NaN or infinite",
        "repair the checkpoint; no kernel gives useful numbers from such weights",
    )


def dtype_advice(dtype: torch.dtype) -> str:
    """What to do about a dtype that `nn` has no type for."""
    if dtype in (torch.float64, torch.float16, torch.bfloat16):
        return "call .float() on the model and on its inputs"
    if dtype.is_complex:
        return "split it into real and imaginary parts of float32"
    if dtype == torch.bool:
        return "use float32 factors 0 and 1 instead of a bool tensor"
    if dtype in (torch.int8, torch.uint8):
        return (
            "keep quantized tensors between ops that quantize and dequantize; else "
            "call .float() for values, .long() for positions"
        )
    return "call .float() for values, .long() for positions"
