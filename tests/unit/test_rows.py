"""Layouts leave room for every element that a kernel may load."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import edgec


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


def test_a_deep_window_much_wider_than_a_register() -> None:
    """The same in 3-D, where positions between slices read far to the right too."""
    torch.manual_seed(0)
    model = torch.nn.Conv3d(1, 1, (2, 2, 100), padding=(1, 1, 0)).eval()
    x = torch.randn(1, 1, 2, 2, 100)
    compiled = edgec.compile(model, (x,), threads=1)
    with torch.no_grad():
        expected = model(x).numpy()
    np.testing.assert_allclose(compiled(x.numpy()), expected, rtol=1e-4, atol=1e-5)
