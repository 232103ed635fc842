"""`lane` ops that say which memory a kernel works on, and run it."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import (
    FlatSymbolRefAttrConstr,
    IntegerAttr,
    StringAttr,
    SymbolRefAttr,
)
from xdsl.ir import (
    Attribute,
    SSAValue,
)
from xdsl.irdl import (
    IRDLOperation,
    ParsePropInAttrDict,
    irdl_op_definition,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import Pure

from edgec.dialects.lane.base import (
    memory,
)
from edgec.dialects.nn import (
    int_attr,
)


@irdl_op_definition
class BufferOp(IRDLOperation):
    """`%b = lane.buffer : memref<64xf32>`: an activation buffer in `@main`.

    `plan-memory` sets `offset`, its place in the arena in bytes.
    """

    name = "lane.buffer"

    offset = opt_prop_def(IntegerAttr)
    result = result_def(memory)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "attr-dict `:` type($result)"

    def __init__(self, type_: Attribute) -> None:
        super().__init__(result_types=[type_])


@irdl_op_definition
class ScratchOp(IRDLOperation):
    """`%s = lane.scratch : memref<64xf32>`: memory of one thread inside a kernel.

    `offset` is its place in the thread's scratch, in bytes. Content is undefined when
    the kernel starts.
    """

    name = "lane.scratch"

    offset = prop_def(IntegerAttr)
    result = result_def(memory)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "attr-dict `:` type($result)"

    def __init__(self, type_: Attribute, offset: int = 0) -> None:
        super().__init__(properties={"offset": int_attr(offset)}, result_types=[type_])


@irdl_op_definition
class WeightsOp(IRDLOperation):
    """`%w = lane.weights "conv1.weight.packed" : memref<…xf32>`: an array by name."""

    name = "lane.weights"

    resource = prop_def(StringAttr)
    result = result_def(memory)

    traits = traits_def(Pure())
    assembly_format = "$resource attr-dict `:` type($result)"

    def __init__(self, resource: str, type_: Attribute) -> None:
        super().__init__(
            properties={"resource": StringAttr(resource)}, result_types=[type_]
        )


@irdl_op_definition
class LaunchOp(IRDLOperation):
    """`lane.launch @kernel(%x, %y) : memref<…>, memref<…>`.

    All threads run the kernel, then meet.
    """

    name = "lane.launch"

    callee = prop_def(FlatSymbolRefAttrConstr)
    arguments = var_operand_def(memory)
    layer = opt_prop_def(StringAttr)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$callee `(` $arguments `)` attr-dict `:` type($arguments)"

    def __init__(
        self, callee: str, arguments: Sequence[SSAValue], layer: str | None = None
    ) -> None:
        super().__init__(
            operands=[arguments],
            properties={
                "callee": SymbolRefAttr(callee),
                "layer": StringAttr(layer) if layer else None,
            },
        )
