"""Which layers are pruned, by which scheme, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Real
from typing import TypeGuard

from edgec.compress.layers import LayerWeight
from edgec.compress.parsing import parse_scheme
from edgec.compress.schemes import FilterScheme, Scheme
from edgec.errors import InvalidInput, some_of

DEFAULT_DENSITY = 0.125
"""Of schemes that do not fix it: eight times fewer weights."""

NOT_CHOSEN = "not chosen"
"""Note of a layer that no glob of `layers` matches."""

Setting = float | str | tuple[str, float]
"""A density, a scheme, or both, for the layers that a glob matches."""


@dataclass(frozen=True)
class Choice:
    """What is done to one layer."""

    scheme: Scheme
    density: float | None
    """Given for this layer or fixed by the scheme; None leaves it to the rates."""
    why_dense: str = ""
    """Why the layer stays dense; empty if it is pruned."""


@dataclass(frozen=True)
class Selection:
    """The arguments of `prune` that choose layers."""

    scheme: str
    density: float | None
    layers: Mapping[str, Setting] | None
    """None for all layers; else those that a glob matches, the first one counts."""
    skip: Sequence[str]
    skip_first: bool

    def choose(self, weights: Mapping[str, LayerWeight]) -> dict[str, Choice]:
        """The choice for every weight, after a check of all arguments."""
        default = self._default()
        settings = {
            glob: self._setting(glob, setting)
            for glob, setting in _entries(self.layers)
        }
        _check_globs("layers", settings, weights.values())
        _check_globs("skip", self.skip, weights.values())
        first = _first_convolution(weights) if self.skip_first else None
        last = _last_linear(weights)
        choices: dict[str, Choice] = {}
        for name, weight in weights.items():
            found = next((g for g in settings if _matches(g, weight)), None)
            scheme, density = default if found is None else settings[found]
            why = scheme.why_not(weight.geometry)
            if any(_matches(glob, weight) for glob in self.skip):
                why = "skipped"
            elif self.layers is not None and found is None:
                why = NOT_CHOSEN
            elif name == first:
                why = "first convolution"
            elif name == last and isinstance(scheme, FilterScheme):
                why = "last linear: its filters are outputs"
            choices[name] = Choice(scheme, density, why)
        return choices

    def _default(self) -> tuple[Scheme, float | None]:
        """The scheme and density of the call."""
        scheme, density = _fixed(parse_scheme(self.scheme), self.density)
        return scheme, density if scheme.density is not None else None

    def _setting(self, glob: str, setting: Setting) -> tuple[Scheme, float | None]:
        """The scheme and density of an entry of `layers`."""
        match setting:
            case str():
                return _fixed(parse_scheme(setting), None)
            case (str() as scheme, density) if _is_number(density):
                return _fixed(parse_scheme(scheme), density)
            case _ if _is_number(setting):
                return _fixed(parse_scheme(self.scheme), setting)
            case _:
                raise InvalidInput(
                    f"layers: '{glob}' must have a density, a scheme or "
                    f"(scheme, density), got {setting!r}"
                )


def as_globs(skip: str | Iterable[str]) -> tuple[str, ...]:
    """One glob or several, as `prune` takes them."""
    if isinstance(skip, str):
        return (skip,)
    # pyright takes the annotation at its word, users need not.
    if not isinstance(skip, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInput(f"skip takes globs as text, got {skip!r}")
    return tuple(skip)


def _entries(layers: Mapping[str, Setting] | None) -> list[tuple[str, Setting]]:
    """The globs and what goes with them, after a check of their types."""
    # pyright takes the annotation at its word, users need not.
    if layers is not None and not isinstance(layers, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInput(
            f"layers must map globs to densities or schemes, got {layers!r}"
        )
    return list((layers or {}).items())


def _is_number(value: object) -> TypeGuard[float]:
    """Whether it can be a density; numpy's numbers can."""
    return not isinstance(value, bool) and isinstance(value, Real)


def _fixed(scheme: Scheme, density: float | None) -> tuple[Scheme, float | None]:
    """Both, after a check that they agree; the scheme's density where it fixes it."""
    if density is not None and not (_is_number(density) and 0 < density <= 1):
        raise InvalidInput(f"density must be in (0, 1], got {density!r}")
    if scheme.density is None or density is None:
        return scheme, density if scheme.density is None else scheme.density
    if abs(density - scheme.density) > 1e-9:
        raise InvalidInput(
            f"scheme '{scheme.text}' fixes the density at {scheme.density:g}: leave "
            f"it out, got {density}"
        )
    return scheme, scheme.density


def _matches(glob: str, weight: LayerWeight) -> bool:
    """Whether a glob matches the path of the module, or of the parameter."""
    return any(fnmatchcase(name, glob) for name in (weight.path, weight.parameter_name))


def _check_globs(
    option: str, globs: Iterable[str], weights: Iterable[LayerWeight]
) -> None:
    known = list(weights)
    names = some_of([weight.name for weight in known])
    for glob in globs:
        # pyright takes the annotation at its word, users need not.
        if not isinstance(glob, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInput(f"{option} takes globs as text, got {glob!r}")
        if not any(_matches(glob, weight) for weight in known):
            raise InvalidInput(
                f"{option}: '{glob}' must match a layer; known are {names}"
            )


def _first_convolution(weights: Mapping[str, LayerWeight]) -> str | None:
    kinds = ((name, weight.geometry.kind) for name, weight in weights.items())
    return next((name for name, kind in kinds if kind == "convolution"), None)


def _last_linear(weights: Mapping[str, LayerWeight]) -> str | None:
    kinds = [(name, weight.geometry.kind) for name, weight in weights.items()]
    return next((name for name, kind in kinds[::-1] if kind == "linear"), None)
