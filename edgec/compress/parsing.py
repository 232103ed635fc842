"""Schemes from their names: `parse_scheme("column:8")`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from edgec.compress.patterns import POSITIONS, TAPS
from edgec.compress.schemes import (
    CONVOLUTIONS,
    EVERY_KIND,
    MATRICES,
    STRUCTURED,
    BcrScheme,
    BspScheme,
    FilterScheme,
    GranuleScheme,
    KernelScheme,
    NmScheme,
    PatternScheme,
    Scheme,
)
from edgec.errors import InvalidInput

DEFAULT_BLOCK = 8
"""Filters of a block: all that share a load gain by the eighth (see `granules_for`)."""


@dataclass(frozen=True)
class Entry:
    """How a name is written, and what it makes."""

    make: Callable[..., Scheme]
    """Called with as many numbers as `defaults` has."""
    defaults: tuple[int, ...] = ()
    """Of the parameter `8x4`; numbers left out at the end are these."""


def _column(block: int) -> Scheme:
    granule = (block, 1, 1)
    return GranuleScheme(
        f"column:{block}", EVERY_KIND, in_groups=True, block=block, granule=granule
    )


def _punched(block: int, channels: int) -> Scheme:
    text = f"block-punched:{block}" + (f"x{channels}" if channels > 1 else "")
    granule = (block, channels, 1)
    return GranuleScheme(
        text, CONVOLUTIONS, in_groups=True, block=block, granule=granule
    )


def _kgs(block: int, channels: int) -> Scheme:
    return GranuleScheme(
        f"kgs:{block}x{channels}",
        CONVOLUTIONS,
        in_groups=True,
        block=block,
        granule=(block, channels, 1),
        rank=3,
    )


def _bcr(rows: int, columns: int) -> Scheme:
    text = f"bcr:{rows}x{columns}"
    return BcrScheme(text, EVERY_KIND, in_groups=False, block=rows, columns=columns)


def _bsp(rows: int, columns: int) -> Scheme:
    text = f"bsp:{rows}x{columns}"
    return BspScheme(text, MATRICES, in_groups=False, block=rows, columns=columns)


ENTRIES: dict[str, Entry] = {
    "pattern": Entry(
        lambda: PatternScheme(
            "pattern", CONVOLUTIONS, in_groups=False, max_density=TAPS / POSITIONS
        )
    ),
    "connectivity": Entry(
        lambda: KernelScheme("connectivity", CONVOLUTIONS, in_groups=False)
    ),
    "unstructured": Entry(
        lambda: GranuleScheme("unstructured", EVERY_KIND, in_groups=True)
    ),
    "block-punched": Entry(_punched, (DEFAULT_BLOCK, 1)),
    "kgs": Entry(_kgs, (DEFAULT_BLOCK, 4)),
    "column": Entry(_column, (DEFAULT_BLOCK,)),
    "bcr": Entry(_bcr, (DEFAULT_BLOCK, 64)),
    "bsp": Entry(_bsp, (DEFAULT_BLOCK, 64)),
    "filter": Entry(
        lambda: FilterScheme(
            "filter",
            STRUCTURED,
            in_groups=False,
            block=DEFAULT_BLOCK,
            granule=(1, 0, 0),
        )
    ),
    "channel": Entry(
        lambda: GranuleScheme(
            "channel",
            STRUCTURED,
            in_groups=False,
            block=DEFAULT_BLOCK,
            granule=(0, 1, 0),
        )
    ),
}
"""Every scheme but N:M, which has no name."""

SCHEMES = (*sorted(ENTRIES), "N:M")
"""Names that `prune` takes."""


def parse_scheme(text: str) -> Scheme:
    """The scheme called `text`: a name, or `name:parameter`, or `N:M`.

    Raises `InvalidInput` for an unknown name or a parameter that does not fit.
    """
    # pyright takes the annotation at its word, users need not.
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInput(f"scheme must be a text, got {text!r}")
    ratio = re.fullmatch(r"(\d+):(\d+)", text)
    if ratio:
        return _ratio(text, int(ratio[1]), int(ratio[2]))
    name, colon, parameter = text.partition(":")
    if name not in ENTRIES:
        raise InvalidInput(f"scheme must be one of {', '.join(SCHEMES)}, got '{text}'")
    entry = ENTRIES[name]
    numbers = _numbers(parameter) if colon else ()
    if numbers is None or len(numbers) > len(entry.defaults):
        raise InvalidInput(f"scheme '{text}': {name} {_takes(name, entry)}")
    return entry.make(*numbers, *entry.defaults[len(numbers) :])


def _ratio(text: str, n: int, m: int) -> Scheme:
    if not 1 <= n < m:
        raise InvalidInput(
            f"scheme '{text}': N of M channels are kept, so 1 <= N < M must hold"
        )
    return NmScheme(f"{n}:{m}", EVERY_KIND, in_groups=True, density=n / m, n=n, m=m)


def _numbers(parameter: str) -> tuple[int, ...] | None:
    """The numbers of `8x4`, all positive; None if it is not made of such."""
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", parameter):
        return None
    return tuple(int(number) for number in parameter.split("x"))


def _takes(name: str, entry: Entry) -> str:
    """What may follow a name, for an error."""
    if not entry.defaults:
        return "takes no parameter"
    example = "x".join(map(str, entry.defaults))
    if len(entry.defaults) == 1:
        return f"takes one positive number, such as {name}:{example}"
    first = entry.defaults[0]
    return f"takes positive numbers, such as {name}:{first} or {name}:{example}"
