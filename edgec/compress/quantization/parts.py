"""What has a format of its own, layers and recurrent matrices, and which one it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import cast

from edgec.compress.quantization.formats import WeightFormat, parse_format
from edgec.compress.quantization.network import Layer, Network
from edgec.compress.quantization.recurrent import RecurrentWeight, recurrent_weights
from edgec.errors import InvalidInput

Part = Layer | RecurrentWeight

SKIPPED = "skipped"
FLOAT = "none: float32"


@dataclass(frozen=True)
class Formats:
    """What each part of a network becomes."""

    chosen: Mapping[Part, WeightFormat | None]
    """The parts to quantize; None leaves the weight, and quantizes its input alone."""
    left: Mapping[Part, str]
    """The others, which stay float32 with their inputs, and why."""


def parts_of(network: Network) -> list[Part]:
    """Layers in the order in which they run, then the matrices of recurrent ones.

    Raises `InvalidInput` if there is none.
    """
    found = [*network.layers.values(), *recurrent_weights(network)]
    if not found:
        raise InvalidInput(
            "nothing to quantize: the model has no convolution, linear or recurrent "
            "layer that depends on its inputs"
        )
    return found


def check_formats(weights: object) -> None:
    """Raise `InvalidInput` for what cannot be a format, or a table of them."""
    if isinstance(weights, Mapping):
        _table(cast("Mapping[object, object]", weights))
    else:
        parse_format(weights)


def choose_formats(
    parts: Sequence[Part], weights: object, skip: Sequence[str]
) -> Formats:
    """One format for all parts, or by globs of their paths; the first glob counts.

    Raises `InvalidInput` for unknown formats, globs without a part, and if nothing is
    left to quantize.
    """
    _check_globs("skip", skip, parts)
    table: dict[str, WeightFormat | None] | None = None
    default: WeightFormat | None = None
    if isinstance(weights, Mapping):
        table = _table(cast("Mapping[object, object]", weights))
        _check_globs("weights", table, parts)
    else:
        default = parse_format(weights)
    chosen: dict[Part, WeightFormat | None] = {}
    left: dict[Part, str] = {}
    for part in parts:
        found = default if table is None else _first(table, part)
        if any(_matches(glob, part) for glob in skip):
            left[part] = SKIPPED
        elif table is not None and found is None:
            left[part] = FLOAT
        else:
            chosen[part] = found
    if not chosen:
        why = "skipped" if table is None else "skipped or 'none'"
        raise InvalidInput(f"nothing to quantize: all layers are {why}")
    return Formats(chosen, left)


def _table(weights: Mapping[object, object]) -> dict[str, WeightFormat | None]:
    """Globs and their formats, after a check of both."""
    table: dict[str, WeightFormat | None] = {}
    for glob, text in weights.items():
        if not isinstance(glob, str):
            raise InvalidInput(f"weights takes globs as text, got {glob!r}")
        table[glob] = parse_format(text)
    return table


def _first(table: Mapping[str, WeightFormat | None], part: Part) -> WeightFormat | None:
    """The format of the first glob that matches; None if there is none."""
    return next((found for glob, found in table.items() if _matches(glob, part)), None)


def _matches(glob: str, part: Part) -> bool:
    """Whether a glob is for a layer; a recurrent one's matrices have names too."""
    names = [part.name]
    if isinstance(part, RecurrentWeight):
        names.append(part.module)
    return any(fnmatchcase(name, glob) for name in names)


def _check_globs(option: str, globs: Iterable[str], parts: Sequence[Part]) -> None:
    names = [
        part.module if isinstance(part, RecurrentWeight) else part.name
        for part in parts
    ]
    for glob in globs:
        if not any(_matches(glob, part) for part in parts):
            raise InvalidInput(
                f"{option}: no layer matches '{glob}'; layers are "
                f"{', '.join(dict.fromkeys(names))}"
            )
