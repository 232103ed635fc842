"""Connectivity: which whole kernels of a layer are kept.

A removed kernel cuts the connection from one input channel to one filter. Kept are the
kernels with the largest L2 norm, of the layer or (balanced) of each filter; balanced
loses a little more energy and gives every thread the same work.

Source: PatDNN (Niu et al., ASPLOS 2020) section 4.1, connectivity pruning.
"""

from __future__ import annotations

import numpy as np

from edgec.compress.geometry import Bools, Doubles, Floats
from edgec.errors import InvalidInput


def kernel_energies(weight: Floats) -> Doubles:
    """Sum of squares of each kernel of `[F, C, ...]`: `[F, C]` in float64."""
    flat = weight.reshape(*weight.shape[:2], -1).astype(np.float64)
    return np.square(flat).sum(axis=-1)


def kernel_mask(weight: Floats, fraction: float, *, balanced: bool = False) -> Bools:
    """Which kernels of `[F, C, ...]` to keep, `[F, C]`.

    Keeps `round(fraction * F * C)` kernels of the layer, at least one; balanced keeps
    `round(fraction * C)` kernels of every filter, at least one. Ties go to the earlier
    kernel. `fraction` must be in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise InvalidInput(
            f"the fraction of kernels to keep must be in (0, 1], got {fraction}"
        )
    energies = kernel_energies(weight)
    if balanced:
        return _largest(energies, fraction)
    return _largest(energies.reshape(1, -1), fraction).reshape(energies.shape)


def connectivity_projection(
    weight: Floats, fraction: float, *, balanced: bool = False
) -> Floats:
    """The nearest weight (Euclidean) with at most that many kernels; a copy."""
    keep = kernel_mask(weight, fraction, balanced=balanced)
    shape = (*keep.shape, *(1,) * (weight.ndim - 2))
    return np.where(keep.reshape(shape), weight, weight.dtype.type(0))


def _largest(energies: Floats, fraction: float) -> Bools:
    """Per row, true at the largest `round(fraction * columns)` entries."""
    count = max(1, round(fraction * energies.shape[1]))
    order = np.argsort(-energies, axis=1, kind="stable")[:, :count]
    keep = np.zeros(energies.shape, np.bool_)
    np.put_along_axis(keep, order, True, axis=1)
    return keep
