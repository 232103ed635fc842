"""Layouts leave room for every element that a kernel may load."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import edgec
from edgec.errors import PassFailed


@pytest.mark.parametrize("target", ["generic", "native"])
def test_a_window_much_wider_than_a_register(target: str) -> None:
    """Positions between rows read far to the right: 1 x 100 on rows of 100."""
    torch.manual_seed(0)
    model = torch.nn.Conv2d(1, 1, (1, 100)).eval()
    x = torch.randn(1, 1, 2, 100)
    compiled = edgec.compile(model, (x,), target=target, threads=1)
    with torch.no_grad():
        expected = model(x).numpy()
    np.testing.assert_allclose(compiled(x.numpy()), expected, rtol=1e-4, atol=1e-5)


def test_all_3d_convolutions_are_named() -> None:
    """One error, with every layer's path and shape."""
    model = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), torch.nn.Conv3d(2, 2, 1))
    with pytest.raises(PassFailed, match=r"0 \(weight 2x1x3x3x3\), 1 \(weight"):
        edgec.compile(model, (torch.randn(1, 1, 4, 4, 4),), threads=1)
