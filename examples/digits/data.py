"""The digits that come with scikit-learn: 1797 real images, no download.

8x8 pixels with 17 grey levels, scanned from forms that 43 people filled in (E. Alpaydin
and C. Kaynak, UCI Machine Learning Repository, 1998).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SIZE = 16
"""Pixels per side that the network sees: the images are enlarged twofold."""

TEST_FRACTION = 0.25
LEVELS = 16.0
"""Largest grey level of an image."""


@dataclass(frozen=True)
class Digits:
    """A fixed split; images are `[N, 1, SIZE, SIZE]` float32 in 0..1, labels int64."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load_digits(seed: int = 0) -> Digits:
    """The images, enlarged, split at random but with equal shares of every digit."""
    # scikit-learn publishes no types: everything is a tensor from the third line on.
    from sklearn import datasets, model_selection

    source: Any = datasets.load_digits()
    small = torch.as_tensor(source.images, dtype=torch.float32).unsqueeze(1) / LEVELS
    labels = torch.as_tensor(source.target, dtype=torch.int64)
    images = functional.interpolate(
        small, size=(SIZE, SIZE), mode="bilinear", align_corners=False
    )
    split: Any = model_selection.train_test_split(
        torch.arange(len(labels)).numpy(),
        test_size=TEST_FRACTION,
        random_state=seed,
        stratify=labels.numpy(),
    )
    train, test = (torch.as_tensor(part) for part in split)
    return Digits(images[train], labels[train], images[test], labels[test])
