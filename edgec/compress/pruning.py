"""One-shot pruning of a torch model, in place, with a report.

    report = prune(model, "pattern", density=0.125)
    print(report)

Every scheme (`schemes`) projects each weight by itself, unless filters of several
layers are to go together (`coupling`): it keeps the granules of the
layer with the largest L2 norm and sets the others to zero. These are the exact
Euclidean projections, except those of `bcr` and `bsp`, which are heuristics.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from edgec.compress.channels import ChannelGroups, check_groups
from edgec.compress.costs import layer_costs
from edgec.compress.coupling import Coupled, couple, coupled_choices
from edgec.compress.geometry import Bools, Floats
from edgec.compress.latency import forecaster
from edgec.compress.layers import LayerWeight, layer_weights
from edgec.compress.patterns import Pattern, pattern_set
from edgec.compress.rates import RATES, flops_densities, magnitude_densities
from edgec.compress.report import LayerReport, PruneReport
from edgec.compress.schemes import KernelScheme, PatternScheme, Scheme
from edgec.compress.selection import (
    DEFAULT_DENSITY,
    NOT_CHOSEN,
    Choice,
    Selection,
    Setting,
    as_globs,
)
from edgec.errors import InvalidInput
from edgec.target import Target


def prune(  # noqa: PLR0913 - every argument is a choice of the user, with a default
    model: nn.Module,
    scheme: str = "pattern",
    density: float | None = None,
    *,
    rates: str = "uniform",
    example_inputs: object = None,
    layers: Mapping[str, Setting] | None = None,
    skip: str | Sequence[str] = (),
    skip_first: bool = True,
    balanced: bool = False,
    patterns: str | Sequence[Pattern] = "fixed8",
    groups: ChannelGroups | None = None,
    target: str | Target | None = None,
    threads: int | None = None,
) -> PruneReport:
    """Prune `model` in place, one shot, without data.

    Prunes every layer that `scheme` is for (see `schemes`), classifiers included,
    except the model's first convolution (in the order of `named_modules`) unless
    `skip_first` is false; depthwise convolutions stay dense. The report says why a
    layer was left.

    `density` is kept / all weights over the pruned layers, in (0, 1], by default 1/8;
    `N:M` fixes it, and `pattern` leaves at most 4/9. What each layer gets is up to
    `rates`: `uniform`, the same; `flops`, so that `density` is kept / all multiply-adds
    (`example_inputs` as for `edgec.compile`); `magnitude`, one threshold for all.

    `layers` maps globs of module or parameter paths to a density, a scheme, or a tuple
    of both; the first that matches a layer counts, and layers without one stay dense.
    A density that is given so is not changed by `rates`. `skip` are globs too.

    `balanced` keeps the same number of kernels in every filter (`pattern`,
    `connectivity`). `patterns` is `fixed8`, `minedK` (the K best for this model's
    kernels, K in 1..16) or a sequence of at most 16 sorted 4-tuples of flat positions.

    With `groups`, which `edgec.channel_groups` makes, scheme `filter` drops channels
    of all tied layers at once, by their common score, depthwise layers included; also
    their elements of biases and of scales and shifts of batch norms, so that a dropped
    channel is zero. A set of tied layers stays dense if one of them does. What is in
    `groups.fixed` stays; the report says so.

    With `target`, the report has the latency that `edgec.predict` expects there with
    `threads`, pruned and dense; it needs `example_inputs`.

    Raises `InvalidInput`, with the model unchanged, for an unknown scheme, arguments
    outside their range, globs without a layer, a model with nothing to prune, groups
    of another model or without scheme `filter`, tied layers whose densities are given
    and differ, layers that share a weight, weights that are computed by a
    parametrization, or weights that are not finite; with `target` also what
    `edgec.predict` raises.
    """
    # pyright takes the annotation at its word, users need not.
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInput(f"model must be an nn.Module, got {type(model).__name__}")
    selection = Selection(scheme, density, layers, as_globs(skip), skip_first)
    job = _job(model, selection, groups, patterns, balanced=balanced)
    forecast = forecaster(model, example_inputs, target, threads)
    wanted = DEFAULT_DENSITY if density is None else density
    densities = job.densities(rates, wanted, example_inputs)
    coupled = Coupled()
    if groups is not None:
        coupled = couple(groups, job.choices, densities, job.arrays)
    masks = job.masks(densities, coupled)
    report = _report(job, masks, notes=coupled.notes)
    for name, mask in masks.items():
        _apply(job.weights[name].tensor, mask)
    for name, mask in coupled.vectors.items():
        _apply(model.get_parameter(name), mask)
    return replace(report, forecast=forecast())


@dataclass(frozen=True)
class _Job:
    """The layers of a model that are to be pruned, and how."""

    model: nn.Module
    weights: Mapping[str, LayerWeight]
    """Of all layers."""
    choices: Mapping[str, Choice]
    """Of all layers too."""
    arrays: Mapping[str, Floats]
    """The weights `[F, C, T]` of the layers to prune."""
    schemes: Mapping[str, Scheme]
    """Theirs."""

    def densities(
        self, rates: str, wanted: float, example_inputs: object
    ) -> dict[str, float]:
        """The density of each layer to prune: as given, else by `rates`."""
        given = {
            n: c for n in self.arrays if (c := self.choices[n].density) is not None
        }
        free = {n: self.weights[n] for n in self.arrays if n not in given}
        _check_rates(rates, free)
        if rates == "uniform":
            return given | dict.fromkeys(free, wanted)
        if rates == "flops":
            return given | _by_flops(
                self.model, wanted, free, self.schemes, example_inputs
            )
        return given | _by_magnitude(wanted, free, self.schemes, self.arrays)

    def masks(
        self, densities: Mapping[str, float], coupled: Coupled
    ) -> dict[str, Bools]:
        """What each layer keeps; those that go with others have their masks."""
        own = {
            name: self.schemes[name].mask(
                array, self.weights[name].geometry, densities[name]
            )
            for name, array in self.arrays.items()
            if name not in coupled.masks
        }
        return own | dict(coupled.masks)


def _job(
    model: nn.Module,
    selection: Selection,
    groups: ChannelGroups | None,
    patterns: str | Sequence[Pattern],
    *,
    balanced: bool,
) -> _Job:
    """What is to be pruned, checked; changes nothing."""
    weights = layer_weights(model)
    choices = selection.choose(weights)
    if groups is not None:
        choices = coupled_choices(choices, check_groups(model, groups))
    found = {name: weights[name] for name, c in choices.items() if not c.why_dense}
    _check_found(model, selection.scheme, found, choices)
    arrays = {name: _array(weight) for name, weight in found.items()}
    schemes = _schemes(choices, arrays, patterns, balanced=balanced)
    return _Job(model, weights, choices, arrays, schemes)


def _check_rates(rates: str, free: Mapping[str, object]) -> None:
    """Raise `InvalidInput` for unknown rates, or rates without a layer to set."""
    if rates not in RATES:
        raise InvalidInput(f"rates must be one of {', '.join(RATES)}, got '{rates}'")
    if rates != "uniform" and not free:
        raise InvalidInput(f"rates '{rates}': the density of every layer is given")


def _schemes(
    choices: Mapping[str, Choice],
    arrays: Mapping[str, Floats],
    patterns: str | Sequence[Pattern],
    *,
    balanced: bool,
) -> dict[str, Scheme]:
    """The scheme of each layer to prune, with the options of the call."""
    schemes = {name: choices[name].scheme for name in arrays}
    kernels = [a for n, a in arrays.items() if isinstance(schemes[n], PatternScheme)]
    if not kernels and patterns != "fixed8":
        raise InvalidInput("patterns goes with scheme 'pattern' only")
    chosen = pattern_set(patterns, kernels)
    for name, scheme in schemes.items():
        if balanced and not isinstance(scheme, KernelScheme):
            raise InvalidInput(
                "balanced goes with schemes pattern and connectivity only, got "
                f"'{scheme.text}' for '{name}'"
            )
        if isinstance(scheme, PatternScheme):
            schemes[name] = replace(scheme, balanced=balanced, patterns=chosen)
        elif isinstance(scheme, KernelScheme):
            schemes[name] = replace(scheme, balanced=balanced)
    return schemes


def _by_flops(
    model: nn.Module,
    density: float,
    free: Mapping[str, LayerWeight],
    schemes: Mapping[str, Scheme],
    example_inputs: object,
) -> dict[str, float]:
    """Densities by the multiply-adds of each layer."""
    if example_inputs is None:
        raise InvalidInput("rates 'flops' needs example_inputs to count operations")
    costs = layer_costs(model, free.values(), example_inputs)
    idle = [name for name, cost in costs.items() if not cost]
    if idle:
        raise InvalidInput(
            f"rates 'flops': the model did not call {', '.join(map(repr, idle))} with "
            "example_inputs; skip what is not called as a module"
        )
    return flops_densities(density, costs, {n: schemes[n].max_density for n in free})


def _by_magnitude(
    density: float,
    free: Mapping[str, LayerWeight],
    schemes: Mapping[str, Scheme],
    arrays: Mapping[str, Floats],
) -> dict[str, float]:
    """Densities by one threshold for the granules of all layers."""
    scores = {n: schemes[n].scores(arrays[n], w.geometry) for n, w in free.items()}
    sizes = {name: weight.geometry.size for name, weight in free.items()}
    found = magnitude_densities(density, scores, sizes)
    # A layer that the threshold leaves nothing keeps one granule all the same.
    return {name: found[name] or 1 / sizes[name] for name in free}


def _check_found(
    model: nn.Module,
    scheme: str,
    found: Mapping[str, LayerWeight],
    choices: Mapping[str, Choice],
) -> None:
    """There is something to prune, and each layer owns its weight alone."""
    if not found:
        # What was asked for comes first in the list, which is cut.
        ranked = sorted(
            choices.items(), key=lambda item: item[1].why_dense == NOT_CHOSEN
        )
        reasons = [f"'{name}' ({choice.why_dense})" for name, choice in ranked]
        others = len(reasons) - 8
        reasons[8:] = [f"and {others} more"] if others > 0 else []
        raise InvalidInput(
            f"nothing to prune by scheme '{scheme}': "
            f"{', '.join(reasons) or 'the model has no layer with a weight'}"
        )
    owners: defaultdict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners[id(parameter)].append(name)
    for name, weight in found.items():
        names = owners.get(id(weight.tensor), [])
        if not names:
            raise InvalidInput(
                f"the weight of '{name}' must be a parameter, but it is computed "
                "(by a parametrization or a pruning hook); remove that first"
            )
        # One module under two names is fine: it has one weight and is pruned once.
        if len({_owner(model, n) for n in names}) > 1:
            raise InvalidInput(
                f"layers must not share a weight, got {', '.join(sorted(names))}"
            )


def _owner(model: nn.Module, parameter: str) -> tuple[int, str]:
    """The module that holds a parameter, and its name there."""
    path, _, attribute = parameter.rpartition(".")
    return id(model.get_submodule(path)), attribute


def _array(weight: LayerWeight) -> Floats:
    """The weight `[F, C, T]` in float32 or float64; an error if it is not finite."""
    name, tensor = weight.name, weight.tensor.detach()
    if not tensor.is_floating_point():
        raise InvalidInput(f"the weight of '{name}' must be float, got {tensor.dtype}")
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise InvalidInput(
            f"the weight of '{name}' must be finite, got {bad} infinities or NaNs"
        )
    if tensor.dtype != torch.float64:
        tensor = tensor.float()
    return tensor.cpu().numpy().reshape(weight.geometry.shape)


def _apply(tensor: Tensor, mask: Bools) -> None:
    """Set to zero what the mask does not keep."""
    keep = torch.as_tensor(mask, device=tensor.device).reshape(tensor.shape)
    with torch.no_grad():
        tensor.masked_fill_(~keep, 0)


def _report(
    job: _Job, masks: Mapping[str, Bools], *, notes: Mapping[str, str]
) -> PruneReport:
    """The report of a model whose weights are still as they were."""
    sizes = _own_bytes(job.weights)
    rows = [
        replace(
            _pruned_row(weight, sizes[n], job.schemes[n], job.arrays[n], masks[n]),
            note=notes.get(n, ""),
        )
        if n in masks
        else _dense_row(weight, sizes[n], job.choices[n].why_dense)
        for n, weight in job.weights.items()
    ]
    sets = [s.patterns for s in job.schemes.values() if isinstance(s, PatternScheme)]
    total = sum(p.numel() * p.element_size() for p in job.model.parameters())
    return PruneReport(
        tuple(rows), sets[0] if sets else (), total - sum(sizes.values())
    )


def _own_bytes(weights: Mapping[str, LayerWeight]) -> dict[str, int]:
    """Bytes of each weight; 0 if it was counted before or is no parameter."""
    seen: set[int] = set()
    sizes: dict[str, int] = {}
    for name, weight in weights.items():
        tensor = weight.tensor
        is_new = isinstance(tensor, nn.Parameter) and id(tensor) not in seen
        sizes[name] = tensor.numel() * tensor.element_size() if is_new else 0
        if is_new:
            seen.add(id(tensor))
    return sizes


def _pruned_row(
    weight: LayerWeight, size: int, scheme: Scheme, array: Floats, mask: Bools
) -> LayerReport:
    """The report of a pruned layer, from its weight before and its mask."""
    squares = np.square(array.astype(np.float64))
    before, after = float(squares.sum()), float(np.where(mask, squares, 0).sum())
    # A weight that was zero before is not stored, kept or not.
    support = mask & (array != 0)
    stored = scheme.stored(support, weight.geometry, size // array.size)
    return LayerReport(
        name=weight.name,
        shape=tuple(weight.tensor.shape),
        scheme=scheme.text,
        block=stored.block,
        density=float(support.mean()),
        dense_bytes=size,
        stored_bytes=stored.num_bytes,
        retained_energy=after / before if before else 1.0,
        note="",
    )


def _dense_row(weight: LayerWeight, size: int, why: str) -> LayerReport:
    """The report of a layer that stays as it is."""
    return LayerReport(
        name=weight.name,
        shape=tuple(weight.tensor.shape),
        scheme="dense",
        block=0,
        density=1.0,
        dense_bytes=size,
        stored_bytes=size,
        retained_energy=1.0,
        note=why if size else "weight counted above",
    )
