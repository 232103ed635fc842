"""A layer as text: equal texts have equal kernels, whatever the weights are."""

from __future__ import annotations

from collections.abc import Sequence

from edgec.dialects import nn, sq


def layer_key(op: sq.ConvOp | sq.LinearOp) -> str:
    """Op, shapes, geometry, encoding and epilogue; not the layouts or the kernel.

    It is the same before and after any choice, so it names a layer in a tuning log.
    """
    encoding = nn.tensor_type(op.weight).encoding
    parts = [
        op.name,
        _sizes(nn.shape_of(op.input)),
        f"weight={_sizes(nn.shape_of(op.weight))}",
        str(encoding) if isinstance(encoding, sq.WeightEncoding) else "dense",
    ]
    if isinstance(op, sq.ConvOp):
        parts += [
            f"stride={_sizes(op.stride.get_values())}",
            f"low={_sizes(op.padding_low.get_values())}",
            f"high={_sizes(op.padding_high.get_values())}",
            f"dilation={_sizes(op.dilation.get_values())}",
            f"groups={op.groups.value.data}",
        ]
    if sq.has_integers(op.input):
        parts.append("int8" if sq.has_integers(op.result) else "int8 to f32")
    if op.bias is not None:
        parts.append("bias")
    steps = [str(step) for step in op.epilogue]
    parts.append(f"epilogue=[{' '.join(steps)}]")
    extras = [_sizes(nn.shape_of(extra)) for extra in op.extras]
    return " ".join([*parts, *(f"extra={extra}" for extra in extras)])


def _sizes(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
