"""What a user can choose when compiling, as one value that is passed down."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from typing import Literal, get_args

from edgec.errors import InvalidInput

Sparsity = Literal["auto", "ignore", "always"]
Integers = Literal["auto", "never"]
Precision = Literal["float32", "bfloat16", "auto"]
_PATH = (str, os.PathLike, type(None))
_PATHS = {"cache": "folder", "tuning_log": "file"}


@dataclass(frozen=True)
class Options:
    """How to compile. The defaults are the fastest code.

    Raises `InvalidInput` for a value that is not allowed.
    """

    sparsity: Sparsity = "auto"
    """`auto`: a pruned layer runs sparse where that is predicted to be faster.
    `ignore`: every layer runs dense, zeros and all (the baseline). `always`: a layer
    with a sparse encoding runs sparse even where dense would be faster."""

    integers: Integers = "auto"
    """`auto`: layers whose input and weight are quantized multiply integers where there
    is a kernel. `never`: they compute the same in float32 (the baseline)."""

    precision: Precision = "float32"
    """What layers compute in whose input is float32. `bfloat16`: convolutions with one
    group and linear layers round their input and weight to bfloat16 and sum products in
    float32, but for pruned ones that are predicted faster as they are. `auto`: those of
    them that are predicted to save time, casts included, within the error budget."""

    error_budget: float = 0.03
    """With `precision="auto"`, the estimated relative error of the results that all
    layers in bfloat16 may cause together; one causes about 0.002."""

    reorder: bool = True
    """Run filter-kernel-reorder and propagate-permutation, and let encode-sparsity put
    like filters in blocks; off to measure what it gains."""

    rewrite_algebra: bool = True
    """Run rewrite-algebra; off to measure what it gains."""

    shrink: bool = True
    """Run shrink-channels; off to measure what it gains."""

    share_loads: bool = True
    """One load for two taps of sparse layers, and load-redundancy-elimination; off to
    measure what it gains."""

    tune_layouts: bool = True
    """Let layout-tuning pack strips and block channels of sparse layers; off to measure
    what it gains."""

    fold_moves: bool = True
    """Run eliminate-data-movement; off to measure what it gains."""

    tuning_log: str | os.PathLike[str] | None = None
    """File of `edgec tune`: layers that it measured on the target, with the number of
    threads, have the fastest family and schedule instead of those predicted. Not with
    `share_loads=False` or `tune_layouts=False`, which change schedules."""

    verify: bool = True
    """Run the verifier and the check of stages after every pass."""

    cache: str | os.PathLike[str] | None = None
    """Folder of compiled objects; None for the user's cache folder."""

    use_cache: bool = True
    """Read and write the folder of compiled objects."""

    def __post_init__(self) -> None:
        """Check every value."""
        if self.sparsity not in get_args(Sparsity):
            raise InvalidInput(
                f"option `sparsity` must be one of {list(get_args(Sparsity))}, "
                f"got {self.sparsity!r}"
            )
        if self.integers not in get_args(Integers):
            raise InvalidInput(
                f"option `integers` must be one of {list(get_args(Integers))}, "
                f"got {self.integers!r}"
            )
        if self.precision not in get_args(Precision):
            raise InvalidInput(
                f"option `precision` must be one of {list(get_args(Precision))}, "
                f"got {self.precision!r}"
            )
        _check_budget(self.error_budget)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _PATHS and not isinstance(value, _PATH):
                raise InvalidInput(
                    f"option `{field.name}` must be the path of a "
                    f"{_PATHS[field.name]}, got {value!r}"
                )
            if field.type == "bool" and not isinstance(value, bool):
                raise InvalidInput(
                    f"option `{field.name}` must be True or False, got {value!r}"
                )
        if self.tuning_log and not (self.share_loads and self.tune_layouts):
            raise InvalidInput(
                "option `tuning_log` needs `share_loads` and `tune_layouts`, with "
                "which schedules were measured"
            )


def _check_budget(budget: object) -> None:
    """Raise `InvalidInput` unless it is a finite number that is not negative."""
    number = -1.0
    if isinstance(budget, int | float) and not isinstance(budget, bool):
        number = float(budget)
    if not 0 <= number < math.inf:
        raise InvalidInput(
            "option `error_budget` must be a finite number that is not negative, "
            f"got {budget!r}"
        )
