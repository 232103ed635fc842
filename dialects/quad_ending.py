"""How sums of an integer layer become the bytes or numbers of its result.

    v = fma(f32(sum), scale, shift)                one rounding to float32
    v = steps(v)
    q = clamp(rint(v * inverse) + zero point)      if the result is quantized

`sum` is `sum (x - zero point of x) * w`, exact. Without anything to fold, `scale` is
`f32(input scale * weight scale)` and `shift` the bias. Where the steps only clamp, the
scale of the result is a part of both, and the clamps a part of the range:

    scale = f32(f32(input scale * weight scale) * inverse)
    shift = f32(bias * inverse)
    q = clamp(rint(fma(f32(sum), scale, shift)) + zero point)

A quantized operand that is added before all clamps, such as a residual, is part of it
too, with its scale and zero point:

    factor = f32(scale of the operand * inverse)
    shift = f32(f32(bias * inverse) - zero point of the operand * factor)
    q = clamp(rint(fma(f32(byte), factor, fma(f32(sum), scale, shift))) + zero point)

This is the definition, exact to the bit where a target has fused multiply-add; others
round the product too. Multiplying, adding and scaling one after the other, as torch
does, gives the same byte or, close to the middle between two, a neighbouring one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgec.dialects.sq import QuantType, Step

Floats = npt.NDArray[np.float32]

SIGN = 128
"""What is added to a signed byte to store it as an unsigned one."""
MOST = 2.0**31
"""Numbers below it round to 32-bit integers."""
MOST_BYTE = 255


@dataclass(frozen=True)
class ByteRange:
    """The bytes of a result; what they stand for is up to the type."""

    inverse: float
    """1 / scale, or 1 if that is folded."""
    zero_point: int
    low: int
    high: int
    bounded: bool
    """Whether what is rounded fits 32 bits, whatever the sum."""


@dataclass(frozen=True)
class Addend:
    """A quantized operand whose bytes are added to what is rounded."""

    operand: int
    """Number of the extra operand."""
    factor: float
    """What each byte is multiplied with."""


@dataclass(frozen=True, eq=False)
class Ending:
    """See the module; `to` is None for a result in float32."""

    scale: Floats
    """`[filters]`."""
    shift: Floats
    """`[filters]`."""
    steps: tuple[Step, ...]
    to: ByteRange | None
    addend: Addend | None = None
    """Where there is one, there are no steps."""


def ending(
    input_scale: float,
    weight_scale: npt.ArrayLike,
    bias: Floats,
    steps: Sequence[Step],
    result: QuantType | None,
    extras: Sequence[QuantType | None] = (),
) -> Ending:
    """The end of a layer with one weight scale, or one for each entry of `bias`.

    `result` has its scale in the type; None means float32. `extras` are the types of
    those extra operands whose bytes the kernel can add without making them numbers.
    """
    own = np.broadcast_to(np.asarray(weight_scale, np.float32), bias.shape)
    scale = np.float32(input_scale) * own
    if result is None:
        return Ending(scale, bias, tuple(steps), None)
    if result.numbers is None:
        raise ValueError(f"a result must have one scale in its type, got {result}")
    number, zero_point = result.numbers
    inverse, sign = np.float32(1 / number), 0 if result.is_unsigned else SIGN
    zero, low, high = (n + sign for n in (zero_point, result.low, result.high))
    addend, zero_added, clamps = _split(steps, extras, inverse)
    if not all(is_clamp(step) for step in clamps):
        to = ByteRange(float(inverse), zero, low, high, bounded=False)
        return Ending(scale, bias, tuple(steps), to)
    low, high = folded_range(clamps, inverse, zero, (low, high))
    scale, shift = scale * inverse, bias * inverse
    factor = 0.0 if addend is None else addend.factor
    # The product is exact in float64.
    shift = (shift.astype(np.float64) - zero_added * factor).astype(np.float32)
    most = MOST * np.abs(scale.astype(np.float64)) + np.abs(shift) + MOST_BYTE * factor
    to = ByteRange(1.0, zero, low, high, bounded=bool((most < MOST).all()))
    return Ending(scale, shift, (), to, addend)


def _split(
    steps: Sequence[Step],
    extras: Sequence[QuantType | None],
    inverse: np.float32,
) -> tuple[Addend | None, int, Sequence[Step]]:
    """What is added first, the zero point of its bytes, and the other steps."""
    if not steps or steps[0].kind != "add" or not 0 <= steps[0].operand < len(extras):
        return None, 0, steps
    type_ = extras[steps[0].operand]
    if type_ is None or type_.numbers is None or not type_.is_unsigned:
        return None, 0, steps
    scale, zero_point = type_.numbers
    factor = float(np.float32(scale) * inverse)
    return Addend(steps[0].operand, factor), zero_point, steps[1:]


def is_clamp(step: Step) -> bool:
    """Whether the step is one of a single number, and only limits it."""
    return step.operand < 0 and step.kind in ("relu", "clamp")


def folded_range(
    steps: Sequence[Step], inverse: np.float32, zero: int, ends: tuple[int, int]
) -> tuple[int, int]:
    """The range of bytes `ends` after steps that clamp numbers."""
    low, high = ends
    for step in steps:
        bounds = step.params if step.kind == "clamp" else (0.0, math.inf)
        least, most = (
            float(np.clip(np.rint(np.float32(bound) * inverse) + zero, *ends))
            for bound in bounds
        )
        low, high = (int(min(max(end, least), most)) for end in (low, high))
    return low, high
