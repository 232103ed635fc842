"""`nn` ops that gather over windows, axes or positions."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import (
    BoolAttr,
    IntegerAttr,
    TensorType,
    i64,
)
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure

from edgec.dialects import shapes
from edgec.dialects.nn.attrs import (
    PoolKind,
    PoolKindAttr,
    ReduceKind,
    ReduceKindAttr,
    ResizeKind,
    ResizeKindAttr,
    float_array,
    int_array,
    int_attr,
)
from edgec.dialects.nn.base import (
    NNOperation,
    check_rank,
    floats,
    ints,
    like,
    shape_of,
    tensor,
    tensor_type,
)


@irdl_op_definition
class PoolOp(NNOperation):
    """`%y = nn.pool max %x {kernel, stride, padding, dilation, …} : …`, 1-D to 3-D.

    Window `o` covers positions `o * stride + k * dilation - padding`. With `ceil_mode`
    the last window may reach over the end of the padded input if it starts inside the
    input or its low padding, as in torch. Max ignores positions outside of the input.
    Avg sums those inside and divides by `divisor` if that is not 0; else by the number
    of positions of the window inside the padded input if `count_include_pad`, else by
    the number inside the input. Avg takes no dilation.
    """

    name = "nn.pool"

    kind = prop_def(PoolKindAttr)
    input = operand_def(tensor)
    kernel = prop_def(ints)
    stride = prop_def(ints)
    padding = prop_def(ints)
    dilation = prop_def(ints)
    ceil_mode = prop_def(BoolAttr)
    count_include_pad = prop_def(BoolAttr)
    divisor = prop_def(IntegerAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$kind $input attr-dict `:` functional-type(operands, results)"

    def __init__(  # noqa: PLR0913 - one argument per property
        self,
        kind: PoolKind | str,
        input: SSAValue,
        *,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor: int = 0,
    ) -> None:
        shape = shapes.pool(
            shape_of(input),
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
        )
        super().__init__(
            operands=[input],
            properties={
                "kind": PoolKindAttr(PoolKind(kind)),
                "kernel": int_array(kernel),
                "stride": int_array(stride),
                "padding": int_array(padding),
                "dilation": int_array(dilation),
                "ceil_mode": BoolAttr.from_bool(ceil_mode),
                "count_include_pad": BoolAttr.from_bool(count_include_pad),
                "divisor": int_attr(divisor),
            },
            result_types=[like(input, shape)],
        )

    def result_shape(self) -> shapes.Shape:
        """`[N, C, *S']`, with torch's rules for the last window."""
        dilation = self.dilation.get_values()
        if self.kind.data is PoolKind.AVG and set(dilation) - {1}:
            raise shapes.ShapeError(f"dilation of avg must be 1, got {dilation}")
        return shapes.pool(
            shape_of(self.input),
            kernel=self.kernel.get_values(),
            stride=self.stride.get_values(),
            padding=self.padding.get_values(),
            dilation=dilation,
            ceil_mode=bool(self.ceil_mode),
        )


@irdl_op_definition
class AdaptivePoolOp(NNOperation):
    """`%y = nn.adaptive_pool avg %x : (…) -> …`, 1-D to 3-D.

    Window `i` of `O` over size `S` is `floor(i S / O) .. ceil((i + 1) S / O)`.
    """

    name = "nn.adaptive_pool"

    kind = prop_def(PoolKindAttr)
    input = operand_def(tensor)
    result = result_def(tensor)

    traits = traits_def(Pure())
    assembly_format = "$kind $input attr-dict `:` functional-type(operands, results)"

    def __init__(
        self, kind: PoolKind | str, input: SSAValue, spatial: Sequence[int]
    ) -> None:
        super().__init__(
            operands=[input],
            properties={"kind": PoolKindAttr(PoolKind(kind))},
            result_types=[like(input, (*shape_of(input)[:2], *spatial))],
        )

    def result_shape(self) -> shapes.Shape:
        """Any `[N, C, *S']`."""
        check_rank(self.input, 3, 5)
        return spatial_result(self.input, self.result)


@irdl_op_definition
class ReduceOp(NNOperation):
    """`%y = nn.reduce mean %x {axes = array<i64: 2, 3>, keep_dims = true} : …`."""

    name = "nn.reduce"

    kind = prop_def(ReduceKindAttr)
    input = operand_def(tensor)
    axes = prop_def(ints)
    keep_dims = prop_def(BoolAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$kind $input attr-dict `:` functional-type(operands, results)"

    def __init__(
        self,
        kind: ReduceKind | str,
        input: SSAValue,
        axes: Sequence[int],
        *,
        keep_dims: bool,
    ) -> None:
        shape = shapes.reduce(shape_of(input), axes, keep_dims=keep_dims)
        kind = ReduceKind(kind)
        type_ = TensorType(i64, shape) if is_position_kind(kind) else like(input, shape)
        super().__init__(
            operands=[input],
            properties={
                "kind": ReduceKindAttr(kind),
                "axes": int_array(axes),
                "keep_dims": BoolAttr.from_bool(keep_dims),
            },
            result_types=[type_],
        )

    @property
    def is_position(self) -> bool:
        """Whether the result holds positions, not values."""
        return is_position_kind(self.kind.data)

    def result_shape(self) -> shapes.Shape:
        """That of the input without the axes, or with 1 in their place."""
        axes = self.axes.get_values()
        if self.is_position and len(axes) != 1:
            raise shapes.ShapeError(
                f"{self.kind.data.value} must have one axis, got {axes}"
            )
        return shapes.reduce(shape_of(self.input), axes, keep_dims=bool(self.keep_dims))

    def result_element(self) -> Attribute:
        """i64 for positions, else that of the input."""
        return i64 if self.is_position else tensor_type(self.input).element_type


def is_position_kind(kind: ReduceKind) -> bool:
    """Whether a reduction of this kind gives i64 positions."""
    return kind in (ReduceKind.ARGMAX, ReduceKind.ARGMIN)


def spatial_result(data: SSAValue, result: SSAValue) -> shapes.Shape:
    """The shape of `result` after a check that it may differ in `*S` only."""
    rank, found = len(shape_of(data)), shape_of(result)
    if len(found) != rank or min(found[2:]) < 1:
        raise shapes.ShapeError(
            f"result must have rank {rank} and positive sizes, got {found}"
        )
    return (*shape_of(data)[:2], *found[2:])


def resized(data: SSAValue, result: SSAValue, scales: Sequence[float]) -> shapes.Shape:
    """As `spatial_result`; there is a step along each dimension of `*S`."""
    axes = len(shape_of(data)) - 2
    if len(scales) != axes or min(scales) < 0:
        raise shapes.ShapeError(
            f"scales must be {axes} numbers of at least 0, got {scales}"
        )
    return spatial_result(data, result)


@irdl_op_definition
class ResizeOp(NNOperation):
    """`%y = nn.resize bilinear %x {align_corners, scales} : …`.

    `scales[i]` is the step in the input per step in the output along spatial dimension
    `i`. Nearest reads `min(floor(o * scale), S - 1)`. Bilinear (2-D) reads at
    `o * scale` with `align_corners`, else at `max((o + 0.5) * scale - 0.5, 0)`.
    Positions are computed in float32, as torch does: which element is nearest depends
    on it.
    """

    name = "nn.resize"

    kind = prop_def(ResizeKindAttr)
    input = operand_def(tensor)
    scales = prop_def(floats)
    align_corners = prop_def(BoolAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$kind $input attr-dict `:` functional-type(operands, results)"

    def __init__(
        self,
        kind: ResizeKind | str,
        input: SSAValue,
        spatial: Sequence[int],
        scales: Sequence[float],
        *,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            operands=[input],
            properties={
                "kind": ResizeKindAttr(ResizeKind(kind)),
                "scales": float_array(scales),
                "align_corners": BoolAttr.from_bool(align_corners),
            },
            result_types=[like(input, (*shape_of(input)[:2], *spatial))],
        )

    def result_shape(self) -> shapes.Shape:
        """Any `[N, C, *S']`."""
        check_rank(self.input, 3, 5)
        rank = len(shape_of(self.input))
        if self.kind.data is ResizeKind.BILINEAR and rank != 4:
            raise shapes.ShapeError(f"input of bilinear must have rank 4, got {rank}")
        return resized(self.input, self.result, self.scales.get_values())
