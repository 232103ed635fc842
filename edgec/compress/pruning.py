"""One-shot pruning of a torch model, in place, with a report.

    report = prune(model, "pattern", density=0.125)
    print(report)

`pattern`: every kernel of a 3x3 convolution keeps the best of a few four-tap patterns,
then the kernels that still have the largest norm stay. Done in this order the two steps
are the exact Euclidean projection onto both constraints at once: a kernel's best
pattern does not depend on whether the kernel stays, and what staying is worth is the
energy that its pattern keeps.

Source: PatDNN (Niu et al., ASPLOS 2020) section 4.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from edgec.compress.connectivity import kernel_mask
from edgec.compress.layers import WeightedLayer, weighted_layers
from edgec.compress.patterns import (
    CANDIDATES,
    FIXED,
    MAX_PATTERNS,
    POSITIONS,
    TAPS,
    Bools,
    Floats,
    Pattern,
    mine_patterns,
    pattern_mask,
)
from edgec.compress.report import LayerReport, PruneReport
from edgec.errors import InvalidInput

SCHEMES = ("pattern",)
"""Schemes that `prune` knows."""


def prune(
    model: nn.Module,
    scheme: str = "pattern",
    density: float = 0.125,
    *,
    balanced: bool = False,
    skip_first: bool = True,
    patterns: str | Sequence[Pattern] = "fixed8",
) -> PruneReport:
    """Prune `model` in place, one shot, without data.

    Prunes every `Conv2d` with a 3x3 kernel and one group, except the model's first
    convolution (in the order of `named_modules`) unless `skip_first` is false; other
    layers stay dense and the report says why. `density` is kept / all weights over the
    pruned layers, in (0, 1]: each layer keeps the fraction `9 density / 4` of its
    kernels, at most all, and four weights of each, so densities above 4/9 give 4/9.

    `balanced` keeps the same number of kernels in every filter. `patterns` is `fixed8`,
    `minedK` (the K best for this model's kernels, K in 1..16) or an explicit sequence
    of at most 16 sorted 4-tuples of flat positions.

    Raises `InvalidInput`, with the model unchanged, for an unknown scheme, a density or
    pattern set outside its range, a model with nothing to prune, layers that share a
    weight, weights that are computed by a parametrization, or weights that are not
    finite.
    """
    _check_arguments(model, scheme, density)
    layers = weighted_layers(model)
    first = _first_convolution(layers) if skip_first else None
    convolutions = _prunable(model, layers, first)
    arrays = {name: _array(name, conv) for name, conv in convolutions.items()}
    chosen = _pattern_set(patterns, list(arrays.values()))
    fraction = min(1.0, density * POSITIONS / TAPS)
    masks = {
        name: pattern_connectivity_mask(weight, chosen, fraction, balanced=balanced)
        for name, weight in arrays.items()
    }
    sizes = _own_bytes(layers)
    rows = tuple(
        _pruned_row(name, sizes[name], arrays[name], masks[name], len(chosen))
        if name in masks
        else _dense_row(name, sizes[name], module, is_first=name == first)
        for name, module in layers.items()
    )
    for name, conv in convolutions.items():
        mask = torch.as_tensor(masks[name], device=conv.weight.device)
        with torch.no_grad():
            conv.weight.masked_fill_(~mask, 0)
    total = sum(p.numel() * p.element_size() for p in model.parameters())
    return PruneReport(rows, chosen, total - sum(sizes.values()))


def pattern_connectivity_mask(
    weight: Floats,
    patterns: Sequence[Pattern],
    fraction: float,
    *,
    balanced: bool = False,
) -> Bools:
    """Mask of the nearest weight with both constraints; `weight` is `[F, C, 3, 3]`."""
    mask = pattern_mask(weight, patterns)
    kept = np.where(mask, weight, weight.dtype.type(0))
    keep = kernel_mask(kept, fraction, balanced=balanced)
    return mask & keep[:, :, None, None]


def fkw_bytes(filters: int, kernels: int, patterns: int, *, element: int = 4) -> int:
    """Bytes of a layer in FKW storage.

    `reorder[F]`, `offset[F + 1]`, `stride[F][K + 1]` and `index[n]` in 32 bits each,
    `weight[n][4]` in `element` bytes. `fkw_bytes(2, 3, 8) == 148`.
    """
    words = filters + (filters + 1) + filters * (patterns + 1) + kernels
    return 4 * words + TAPS * kernels * element


def _check_arguments(model: object, scheme: str, density: float) -> None:
    if not isinstance(model, nn.Module):
        raise InvalidInput(f"model must be an nn.Module, got {type(model).__name__}")
    if scheme not in SCHEMES:
        raise InvalidInput(
            f"scheme must be one of {', '.join(SCHEMES)}, got '{scheme}'"
        )
    if not 0 < density <= 1:
        raise InvalidInput(f"density must be in (0, 1], got {density}")


def _pattern_set(
    patterns: str | Sequence[Pattern], weights: Sequence[Floats]
) -> tuple[Pattern, ...]:
    """The set that the option `patterns` names."""
    if isinstance(patterns, str):
        if patterns == "fixed8":
            return FIXED
        mined = re.fullmatch(r"mined(\d+)", patterns)
        if mined is None or not 1 <= int(mined[1]) <= MAX_PATTERNS:
            raise InvalidInput(
                f"patterns must be 'fixed8', 'mined1'..'mined{MAX_PATTERNS}' or "
                f"tuples of positions, got '{patterns}'"
            )
        return mine_patterns(weights, int(mined[1]), CANDIDATES)
    chosen = tuple(tuple(pattern) for pattern in patterns)
    if not 1 <= len(chosen) <= MAX_PATTERNS or len(set(chosen)) != len(chosen):
        raise InvalidInput(
            f"patterns must be 1 to {MAX_PATTERNS} distinct tuples, got {chosen}"
        )
    for pattern in chosen:
        if len(pattern) != TAPS or list(pattern) != sorted(set(pattern)):
            raise InvalidInput(
                f"a pattern must be {TAPS} distinct positions in ascending order, "
                f"got {pattern}"
            )
    return chosen


def _first_convolution(layers: Mapping[str, WeightedLayer]) -> str | None:
    """Path of the first convolution among the layers."""
    return next((n for n, m in layers.items() if not isinstance(m, nn.Linear)), None)


def _prunable(
    model: nn.Module, layers: Mapping[str, WeightedLayer], first: str | None
) -> dict[str, nn.Conv2d]:
    """The convolutions to prune, after a check that each owns its weight alone."""
    found = {
        name: module
        for name, module in layers.items()
        if isinstance(module, nn.Conv2d)
        and not _why_dense(module, is_first=name == first)
    }
    if not found:
        raise InvalidInput(
            "nothing to prune: the model must have a Conv2d with a 3x3 kernel and "
            f"groups=1{'' if first is None else f' besides the first, {first!r}'}"
        )
    owners: defaultdict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners[id(parameter)].append(name)
    for name, module in found.items():
        names = owners.get(id(module.weight), [])
        if not names:
            raise InvalidInput(
                f"the weight of '{name}' must be a parameter, but it is computed "
                "(by a parametrization or a pruning hook); remove that first"
            )
        # One module under two names is fine: it has one weight and is pruned once.
        if len({id(_owner(model, n)) for n in names}) > 1:
            raise InvalidInput(
                f"layers must not share a weight, got {', '.join(sorted(names))}"
            )
    return found


def _owner(model: nn.Module, parameter: str) -> nn.Module:
    """The module that holds a parameter."""
    return model.get_submodule(parameter.rpartition(".")[0])


def _why_dense(module: WeightedLayer, *, is_first: bool) -> str:
    """Why a layer stays dense; empty if it is to be pruned."""
    if isinstance(module, nn.Linear):
        return "linear"
    if is_first:
        return "first convolution"
    if not isinstance(module, nn.Conv2d):
        return "not 2-D"
    if module.kernel_size != (3, 3):
        return f"{'x'.join(map(str, module.kernel_size))} kernels"
    return f"{module.groups} groups" if module.groups != 1 else ""


def _array(name: str, conv: nn.Conv2d) -> Floats:
    """The weight as a float32 or float64 array; an error if it is not finite."""
    weight = conv.weight.detach()
    if not weight.is_floating_point():
        raise InvalidInput(f"the weight of '{name}' must be float, got {weight.dtype}")
    bad = int((~torch.isfinite(weight)).sum())
    if bad:
        raise InvalidInput(
            f"the weight of '{name}' must be finite, got {bad} infinities or NaNs"
        )
    if weight.dtype != torch.float64:
        weight = weight.float()
    return weight.cpu().numpy()


def _own_bytes(layers: Mapping[str, WeightedLayer]) -> dict[str, int]:
    """Bytes of each layer's weight; 0 if it was counted before or is no parameter."""
    seen: set[int] = set()
    sizes: dict[str, int] = {}
    for name, module in layers.items():
        weight = module.weight
        is_new = isinstance(weight, nn.Parameter) and id(weight) not in seen
        sizes[name] = weight.numel() * weight.element_size() if is_new else 0
        if is_new:
            seen.add(id(weight))
    return sizes


def _pruned_row(
    name: str, size: int, weight: Floats, mask: Bools, patterns: int
) -> LayerReport:
    """The report of a pruned layer, from its weight before and its mask."""
    squares = np.square(weight.astype(np.float64))
    before, after = float(squares.sum()), float(np.where(mask, squares, 0).sum())
    kernels = int(mask.any(axis=(2, 3)).sum())
    element = size // weight.size
    return LayerReport(
        name=name,
        shape=weight.shape,
        scheme="pattern",
        density=float(mask.mean()),
        dense_bytes=size,
        stored_bytes=fkw_bytes(weight.shape[0], kernels, patterns, element=element),
        retained_energy=after / before if before else 1.0,
        note="",
    )


def _dense_row(
    name: str, size: int, module: WeightedLayer, *, is_first: bool
) -> LayerReport:
    """The report of a layer that stays as it is."""
    return LayerReport(
        name=name,
        shape=tuple(module.weight.shape),
        scheme="dense",
        density=1.0,
        dense_bytes=size,
        stored_bytes=size,
        retained_energy=1.0,
        note=_why_dense(module, is_first=is_first) if size else "weight counted above",
    )
