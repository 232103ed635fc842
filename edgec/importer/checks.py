"""What every call is asked, whatever its rule: dtypes, and that there is a rule."""

from __future__ import annotations

import torch
from torch import fx
from xdsl.ir import SSAValue

from edgec.dialects import nn, sq
from edgec.importer.aten import Rule
from edgec.importer.builder import ELEMENT_TYPES, Builder, dtype_advice
from edgec.importer.problems import Unsupported
from edgec.importer.quantizing import STORAGE


class UnsupportedDtype(Unsupported):
    """An operand or a result has a dtype that `nn` has no type for."""

    def __init__(self, what: str, dtype: torch.dtype) -> None:
        name = str(dtype).removeprefix("torch.")
        super().__init__(f"{what} has dtype {name}", dtype_advice(dtype))
        self.dtype = dtype


def check_operand(node: fx.Node, rule: Rule) -> None:
    """Raise `UnsupportedDtype` for a tensor that is computed and `rule` cannot take."""
    value = node.meta.get("val")
    # Scales and zero points are of any dtype; the rule looks at them.
    if not isinstance(value, torch.Tensor) or rule.quantized:
        return
    allowed = ELEMENT_TYPES if rule.any_type else (torch.float32,)
    if value.dtype not in allowed:
        raise UnsupportedDtype(f"operand '{node.name}'", value.dtype)


def check_results(node: fx.Node, rule: Rule) -> None:
    """Raise `UnsupportedDtype` for a call whose result `nn` has no type for."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return
    allowed = {*ELEMENT_TYPES, *(STORAGE if rule.quantized else ())}
    if value.dtype not in allowed:
        raise UnsupportedDtype("the result", value.dtype)


def check_value(builder: Builder, name: str, value: SSAValue) -> None:
    """What the rule of op `name` made has the shape and dtype that torch expects."""
    found = nn.tensor_type(value)
    wanted = builder.shape
    assert found.get_shape() == wanted, f"{name} must make {wanted}, made {found}"
    element = found.element_type
    if isinstance(element, sq.QuantType):
        return
    if element != ELEMENT_TYPES[builder.dtype]:
        raise UnsupportedDtype("the result", builder.dtype)


def no_rule(name: str) -> Unsupported:
    """What to say of an op that `aten.TABLE` does not have."""
    if "quantized" in name:
        return Unsupported(
            "this quantized op cannot be imported",
            "quantize with quantize_per_tensor or quantize_per_channel and fixed "
            "scales, or leave this part in float32",
        )
    if name.partition(".")[0] not in ("aten", "prims"):
        return Unsupported(
            "it is not an ATen op", "write that part of the model with ATen ops"
        )
    return Unsupported(
        "there is no rule for this op",
        "rewrite that part with supported ops, or add a rule to "
        "edgec/importer/aten_*.py",
    )
