"""What the command line asks for; light, as it is read before numpy may be loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgec.errors import InvalidInput

SUITES = (
    *("spine", "sparse", "recurrent", "granules", "sweep", "loads"),
    *("fusion", "ablation", "models", "compile"),
    *("int8-dense", "int8-sparse", "int8-linear", "int8-recurrent"),
    *("bf16-dense", "bf16-linear"),
)
"""spine: networks that everybody measures, against the peers. sparse: networks pruned
in blocks of filters, against the peers. recurrent: the same of a GRU. granules: stacks
of layers, edgec sparse against edgec dense. sweep: random layers pruned in every way,
edgec as it chooses against edgec dense, and predicted against measured. loads: what
sharing saves on single layers, counted and not timed. fusion: ops and launches of
networks, counted too. ablation: the pruned one with edgec's options switched on one by
one. models: outputs of every network against torch's. compile: seconds and memory of
the compiler. int8-dense and int8-sparse: quantized networks against the peers on the
same quantized models. int8-linear: layers of one row in 8, 4 and 2 bits against the
speed of memory. int8-recurrent: the GRU of one frame with weights in integers.
bf16-dense: networks in bfloat16, against peers in that and in float32. bf16-linear:
layers of one row in it, against the speed of memory."""

ROUNDS = 15
"""Turns of each engine, unless the user wants another number."""

ENGINES = ("edgec", "onnxruntime", "openvino")
"""Those that run unless the user names others."""

CASES = 200
"""Of a sweep."""

DENSITY = 0.125
"""Eight times fewer weights in the pruned layers."""


@dataclass(frozen=True)
class Request:
    """The options of the command line. Raises `InvalidInput` if they do not fit."""

    suite: str | None
    models: tuple[str, ...]
    engines: tuple[str, ...]
    """Empty for `ENGINES`."""
    prune: str
    """`none` or a scheme of `edgec.compress.prune`; only with `models`."""
    density: float | None
    """None for `DENSITY`, or that of N:M, where the models are pruned."""
    threads: int
    rounds: int
    target: str
    """What edgec compiles for."""
    folder: Path
    """Where ONNX files, compiled code and results are kept."""
    json_file: Path | None
    cases: int = CASES
    """Of the sweep."""
    seed: int = 0
    """Of its cases."""
    only: str | None = None
    """A range of its cases, `20-39`; None for all."""

    def __post_init__(self) -> None:
        """Check what depends on more than one option."""
        if (self.suite is None) == (not self.models):
            raise InvalidInput("give either --suite or --models")
        is_pruned = self.prune != "none"
        if self.suite and (self.engines or is_pruned or self.density is not None):
            raise InvalidInput(
                f"--suite {self.suite} has its own engines and pruning; "
                "--engines, --prune and --density go with --models"
            )
        if self.density is not None and not is_pruned:
            raise InvalidInput("--density needs --prune SCHEME")
        given = (self.cases, self.seed, self.only)
        if self.suite != "sweep" and given != (CASES, 0, None):
            raise InvalidInput("--cases, --seed and --only go with --suite sweep")
        parse_range(self.only, self.cases)

    @property
    def kept(self) -> float | None:
        """The density to prune to; None for dense models."""
        if self.prune == "none":
            return None
        if self.density is not None:
            return self.density
        ratio = re.fullmatch(r"(\d+):([1-9]\d*)", self.prune)
        return int(ratio[1]) / int(ratio[2]) if ratio else DENSITY

    @property
    def results_file(self) -> Path:
        """Where the numbers go."""
        return self.json_file or self.folder / f"{self.suite or 'chosen-models'}.json"


def parse_range(text: str | None, cases: int) -> range:
    """`20-39` as the numbers 20 to 39 of `cases`; all of them for None."""
    if text is None:
        return range(cases)
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    numbers = range(int(found[1]), int(found[2] or found[1]) + 1) if found else ()
    if not numbers or numbers[-1] >= cases:
        raise InvalidInput(
            f"--only must be a case or a range of cases within 0-{cases - 1}, "
            f"such as 0-39; got '{text}'"
        )
    return range(numbers[0], numbers[-1] + 1)
