"""A plain training loop; the masks of a pruned model enter it in one line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgec.compress import MaskedGradients
from examples.digits.data import Digits

BATCH = 64
WEIGHT_DECAY = 1e-2
SHIFT = 2
"""Images are shifted by up to this many pixels, in both directions, while training."""


def train(
    model: nn.Module,
    digits: Digits,
    *,
    epochs: int,
    peak_rate: float,
    seed: int = 0,
    masked: bool = False,
) -> None:
    """Train in place with AdamW and one cycle of the learning rate; ends in eval mode.

    `masked` keeps every weight that is zero at the start at zero.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = (len(digits.train_labels) + BATCH - 1) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak_rate, total_steps=epochs * batches
    )
    # torch leaves the type of `step` half open.
    step = cast(
        Callable[[], None],
        optimizer.step,  # pyright: ignore[reportUnknownMemberType]
    )
    model.train()
    with ExitStack() as stack:
        if masked:
            stack.enter_context(MaskedGradients(model))
        for _ in range(epochs):
            order = torch.randperm(len(digits.train_labels), generator=generator)
            for chosen in order.split(BATCH):
                images = shift(digits.train_images[chosen], generator)
                optimizer.zero_grad()
                logits = model(images)
                functional.cross_entropy(logits, digits.train_labels[chosen]).backward()
                step()
                schedule.step()
    model.eval()


def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """The batch, moved by one random offset; zeros move in."""
    height, width = images.shape[2:]
    padded = functional.pad(images, (SHIFT,) * 4)
    y, x = torch.randint(2 * SHIFT + 1, (2,), generator=generator).tolist()
    return padded[:, :, y : y + height, x : x + width]


def predict(run: Callable[[Tensor], Tensor], images: Tensor, batch: int) -> Tensor:
    """The most likely digit of each image, `[N]`; runs whole batches only.

    The last batch is filled up with zeros, since a compiled model has one input shape.
    """
    found: list[Tensor] = []
    with torch.inference_mode():
        for part in images.split(batch):
            missing = batch - len(part)
            filled = functional.pad(part, (0, 0, 0, 0, 0, 0, 0, missing))
            found.append(run(filled)[: len(part)].argmax(dim=1))
    return torch.cat(found)


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Share of correct predictions, in percent."""
    return 100 * float((predictions == labels).float().mean())
