"""What weights in formats of their own may cost: arguments of `quantize`, checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

from torch.export import ExportedProgram

from edgec.compress.quantization.formats import WeightFormat, parse_format
from edgec.errors import InvalidInput
from edgec.target import Target

if TYPE_CHECKING:
    from edgec.forecast import Forecast

AUTO = "auto"

CHOICES = ("int8", "int4", "sp2-4", "ternary")
"""Formats to choose from, if nothing else is said; `none` too for a latency."""

UNITS = {
    "": 1,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
}

Predict = Callable[[ExportedProgram], "Forecast"]


@dataclass(frozen=True)
class Budget:
    """What was asked for with `weights="auto"`."""

    choices: tuple[WeightFormat | None, ...]
    """None leaves a part in float32, its input too."""
    max_bytes: float | None
    max_latency: float | None
    """In milliseconds."""


def read_budget(
    weights: object,
    choices: Sequence[str] | None,
    max_bytes: int | str | None,
    max_latency: float | None,
    target: str | Target | None,
) -> Budget | None:
    """What the arguments of `quantize` say; None for weights that are not `auto`.

    Raises `InvalidInput` for arguments outside their range or without each other.
    """
    given = {"max_bytes": max_bytes, "max_latency": max_latency}
    if weights != AUTO:
        for name, value in {**given, "choices": choices}.items():
            if value is not None:
                raise InvalidInput(f"{name} goes with weights='auto', got {weights!r}")
        return None
    if max_bytes is None and max_latency is None:
        raise InvalidInput("weights='auto' needs max_bytes, max_latency or both")
    if max_latency is not None and target is None:
        raise InvalidInput("max_latency needs target, for which it is predicted")
    names = choices
    if names is None:
        names = CHOICES if max_latency is None else (*CHOICES, "none")
    return Budget(
        _formats(names),
        None if max_bytes is None else parse_bytes(max_bytes),
        None if max_latency is None else _milliseconds(max_latency),
    )


def parse_bytes(size: object) -> int:
    """Bytes, also as text: `2MB` are 2,000,000 and `2MiB` 2,097,152."""
    found: Any = size  # numbers of numpy, too
    if isinstance(size, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?) *((?:[KMG]i?)?)B?", size, re.IGNORECASE)
        if match is not None:
            unit = match[2][:1].upper() + match[2][1:].lower()
            found = float(match[1]) * UNITS[unit]
    if not _is_number(found) or not 1 <= found < 2**63:
        raise InvalidInput(
            "max_bytes must be a positive number of bytes, or a text such as '2MB' or "
            f"'512KiB', got {size!r}"
        )
    return int(found)


def _milliseconds(latency: Any) -> float:
    if not _is_number(latency) or not 0 < latency < math.inf:
        raise InvalidInput(
            f"max_latency must be a positive number of milliseconds, got {latency!r}"
        )
    return float(latency)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and value is not True and value is not False


def _formats(choices: object) -> tuple[WeightFormat | None, ...]:
    if isinstance(choices, str) or not isinstance(choices, Iterable):
        raise InvalidInput(f"choices must be a list of formats, got {choices!r}")
    names = list(cast("Iterable[object]", choices))
    try:
        found = tuple(parse_format(name) for name in names)
    except InvalidInput as error:
        raise InvalidInput(f"choices: {error}") from error
    if not any(found):
        raise InvalidInput("choices must have a format other than 'none'")
    if len(set(found)) < len(found):
        raise InvalidInput(f"choices must differ, got {names!r}")
    return found


def predictor(target: str | Target | None, threads: int | None) -> Predict | None:
    """What predicts the latency of a program; None without a target.

    Raises `InvalidInput` for threads without a target.
    """
    if target is None:
        if threads is not None:
            raise InvalidInput("threads go with target, for which latency is predicted")
        return None

    def predict_program(program: ExportedProgram) -> Forecast:
        # The compiler is not loaded for those who only quantize.
        from edgec.forecast import predict

        return predict(program, target=target, threads=threads)

    return predict_program
