"""Which settings a layer can run with: what a log of measurements may say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgec.dialects import nn, sq
from edgec.dialects.bf16 import PAIR
from edgec.dialects.lane import QUAD
from edgec.kernels.conv.bands import BANDS
from edgec.kernels.conv.lower import SETTINGS
from edgec.kernels.conv.pattern_loops import FORMS
from edgec.kernels.conv.tile_columns import kept_groups
from edgec.kernels.cost import MIN_COLUMNS
from edgec.kernels.cost_quads import MOST_FILTERS
from edgec.kernels.cost_quads import MOST_ROWS as MOST_BANDED_ROWS
from edgec.kernels.cost_tiles import POSITIONS, fits
from edgec.passes.analysis.predict import families_of

MOST_ACCUMULATORS = 64
"""Registers of results: more of them are more code than caches of instructions hold."""
MOST_ROWS = 64
"""The same for the rows of a tile of the pattern kernel."""
_LEAST = {"form": 0, "packed": 0}
"""The least value of settings that may be 0."""


def why_not(
    op: sq.ConvOp | sq.LinearOp, family: str, settings: Mapping[str, int], lanes: int
) -> str | None:
    """Why a layer cannot run as `family` with these settings; None if it can."""
    families = families_of(op)
    if family not in families:
        return f"its family must be one of {list(families)}, got '{family}'"
    wanted = _names(op, family)
    if sorted(settings) != wanted:
        return f"settings of family '{family}' must be {wanted}, got {sorted(settings)}"
    for name, value in settings.items():
        least = _LEAST.get(name, 1)
        if value < least:
            return f"`{name}` must be at least {least}, got {value}"
    if family == "pattern":
        return _pattern(op, settings, lanes)
    if family == "tiles":
        return _tiles(op, settings)
    return _register_block(op, family, settings)


def _names(op: sq.ConvOp | sq.LinearOp, family: str) -> list[str]:
    """What a schedule sets: linear layers have one only as convolutions."""
    if isinstance(op, sq.ConvOp):
        return sorted(SETTINGS[family])
    names = {"conv": "columns", "tiles": "tiles"}
    return sorted(SETTINGS[names[family]]) if family in names else []


def _register_block(
    op: sq.ConvOp | sq.LinearOp, family: str, settings: Mapping[str, int]
) -> str | None:
    filters, vectors = settings.get("filters", 1), settings.get("vectors", 1)
    if filters * vectors > MOST_ACCUMULATORS:
        return (
            f"`filters` times `vectors` must be at most {MOST_ACCUMULATORS}, got "
            f"{filters} times {vectors}"
        )
    if family in ("quads", "pairs"):
        return _grouped(op, filters, QUAD if family == "quads" else PAIR)
    if settings.get("rows", 1) > MOST_BANDED_ROWS:
        return f"`rows` must be at most {MOST_BANDED_ROWS}, got {settings['rows']}"
    encoding = nn.tensor_type(op.weight).encoding
    if family != "dense" and isinstance(encoding, sq.ColumnsAttr):
        block = encoding.block_size
        if settings and block % filters:
            return (
                f"`filters` must divide the {block} filters of a block, got {filters}"
            )
    groups = op.groups.value.data if isinstance(op, sq.ConvOp) else 1
    most = max(1, nn.shape_of(op.weight)[0] // groups)
    return (
        None if filters <= most else f"`filters` must be at most {most}, got {filters}"
    )


def _grouped(op: sq.ConvOp | sq.LinearOp, filters: int, held: int) -> str | None:
    """A block of filters of which `held` share a lane of the result."""
    most = -(-nn.shape_of(op.weight)[0] // held) * held
    if filters % held or filters > min(most, MOST_FILTERS):
        return (
            f"`filters` must be a multiple of {held} of at most "
            f"{min(most, MOST_FILTERS)}, got {filters}"
        )
    return None


def _tiles(op: sq.ConvOp | sq.LinearOp, settings: Mapping[str, int]) -> str | None:
    filters, tiles, vectors = (settings[n] for n in ("filters", "tiles", "vectors"))
    allowed = sorted(kept_groups(op))
    if filters not in allowed:
        return f"`filters` must be one of {allowed}, got {filters}"
    if tiles > filters // POSITIONS:
        return f"`tiles` must be at most {filters // POSITIONS}, got {tiles}"
    if not fits(tiles, vectors):
        return (
            "`tiles`, `vectors` and their product must sum to at most 8, got "
            f"{tiles} and {vectors}"
        )
    return None


def _pattern(
    op: sq.ConvOp | sq.LinearOp, settings: Mapping[str, int], lanes: int
) -> str | None:
    form, (filters, channels, *_) = FORMS.index("pairs"), nn.shape_of(op.weight)
    *_, height, width = nn.shape_of(op.result)
    if settings["form"] != form or settings["packed"] != 1:
        return f"`form` must be {form} and `packed` 1"
    bands = settings["bands"]
    several = [count for count in BANDS if width >= lanes // count >= MIN_COLUMNS]
    allowed: Sequence[int] = sorted({1, *several})
    if bands not in allowed:
        return f"`bands` must be one of {allowed}, got {bands}"
    rows = min(MOST_ROWS, -(-height // bands))
    limits = {"rows": rows, "block": channels, "splits": filters}
    for name, most in limits.items():
        if settings[name] > most:
            return f"`{name}` must be at most {most}, got {settings[name]}"
    return None
