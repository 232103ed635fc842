"""Codes that keep the output of a layer, not each weight by itself.

Columns are rounded one after the other, and the error of each is made up for by those
that are still to come, as far as the calibration inputs allow. Source: Frantar et al.,
GPTQ (2022), section 3; the solver is that of Optimal Brain Surgeon.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from edgec.compress.quantization.formats import Rows

DAMPING = 0.01
"""Of the mean of the diagonal, added to it (GPTQ, section 3.3)."""

BLOCK = 128
"""Columns after which the error is carried to all the others (GPTQ, section 3.3)."""


def output_errors(off: Tensor, moments: Tensor) -> Tensor:
    """`[R]`: mean square of the outputs of weights `off` `[R, K]`.

    `moments` `[K, K]` is the mean of x xᵀ over the inputs x of the layer.
    """
    off = off.double()
    return ((off @ moments.double()) * off).sum(dim=1)


def reconstruct(matrix: Tensor, rows: Rows, moments: Tensor) -> Tensor:
    """int8 codes of a float32 matrix `[R, K]`, with zeros where it has zeros.

    A row whose output would be further off than with its weights rounded to the nearest
    codes is rounded so instead.
    """
    plain = rows.round(matrix)
    careful = _error_feedback(matrix, rows, moments)
    scales = rows.full_scales(matrix.shape[1])
    before = output_errors(plain * scales - matrix, moments)
    after = output_errors(careful * scales - matrix, moments)
    return torch.where((after < before)[:, None], careful, plain)


def _error_feedback(matrix: Tensor, rows: Rows, moments: Tensor) -> Tensor:
    work = matrix.double().clone()
    scales = rows.full_scales(matrix.shape[1]).double()
    keep = matrix != 0
    factor = _inverse_factor(moments)
    codes = torch.zeros_like(work)
    columns = work.shape[1]
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        errors = torch.zeros(len(work), stop - start, dtype=torch.float64)
        for j in range(start, stop):
            scaled = work[:, j : j + 1] / scales[:, j : j + 1]
            code = rows.project(scaled)[:, 0] * keep[:, j]
            codes[:, j] = code
            error = (work[:, j] - code * scales[:, j]) / factor[j, j]
            work[:, j:stop] -= error[:, None] * factor[j, j:stop]
            errors[:, j - start] = error
        work[:, stop:] -= errors @ factor[start:stop, stop:]
    return codes.to(torch.int8)


def _inverse_factor(moments: Tensor) -> Tensor:
    """Upper Cholesky factor of the inverse of the damped moments."""
    damped = moments.double().clone()
    diagonal = damped.diagonal()
    # An input that was always zero says nothing: its weights are rounded alone.
    diagonal[diagonal == 0] = 1
    diagonal += DAMPING * diagonal.mean()
    # torch leaves its type open.
    cholesky = cast(Callable[..., Tensor], torch.linalg.cholesky)  # pyright: ignore[reportUnknownMemberType]  # as above
    inverse = torch.cholesky_inverse(cholesky(damped))
    return cholesky(inverse, upper=True)
