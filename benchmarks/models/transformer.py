"""BERT-base (Devlin et al. 2018) and GPT-2 (Radford et al. 2019), without embeddings.

Both start from embedded hidden states `[batch, tokens, width]`: looking rows up in a
table is not part of what is compiled. BERT normalizes after each block, GPT-2 before.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH, HEADS, LAYERS = 768, 12, 12
"""Of both networks."""


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Map `[batch, tokens, width]` to `[batch, heads, tokens, width / heads]`."""
    batch, tokens, width = x.shape
    return x.view(batch, tokens, heads, width // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Undo `split_heads`."""
    batch, heads, tokens, size = x.shape
    return x.transpose(1, 2).reshape(batch, tokens, heads * size)


class Attention(nn.Module):
    """Multi-head attention with a linear layer each for query, key and value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, tokens, width]` to the same shape."""
        layers = (self.query, self.key, self.value)
        query, key, value = (split_heads(layer(x), self.heads) for layer in layers)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        return self.out(merge_heads(scores.softmax(-1) @ value))


class CausalAttention(nn.Module):
    """Attention to earlier tokens; one linear layer makes query, key and value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, tokens, width]` to the same shape."""
        tokens, width = x.shape[1:]
        parts = self.qkv(x).split(width, dim=2)
        query, key, value = (split_heads(part, self.heads) for part in parts)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        future = torch.ones(tokens, tokens, dtype=torch.bool, device=x.device).triu(1)
        scores = scores.masked_fill(future, float("-inf"))
        return self.out(merge_heads(scores.softmax(-1) @ value))


class EncoderLayer(nn.Module):
    """A layer of BERT."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width, 1e-12)
        self.wide, self.narrow = (
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
        )
        self.activation = nn.GELU()
        self.last_norm = nn.LayerNorm(width, 1e-12)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, tokens, width]` to the same shape."""
        x = self.norm(x + self.attention(x))
        return self.last_norm(x + self.narrow(self.activation(self.wide(x))))


class DecoderLayer(nn.Module):
    """A layer of GPT-2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads)
        self.wide, self.narrow = (
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
        )
        self.activation = nn.GELU("tanh")

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, tokens, width]` to the same shape."""
        x = x + self.attention(self.norm(x))
        return x + self.narrow(self.activation(self.wide(self.last_norm(x))))


def bert_base(
    layers: int = LAYERS, width: int = WIDTH, heads: int = HEADS
) -> nn.Sequential:
    """Return BERT's encoder."""
    return nn.Sequential(*(EncoderLayer(width, heads) for _ in range(layers)))


def gpt2(layers: int = LAYERS, width: int = WIDTH, heads: int = HEADS) -> nn.Sequential:
    """Return GPT-2's decoder and its last norm."""
    blocks = (DecoderLayer(width, heads) for _ in range(layers))
    return nn.Sequential(*blocks, nn.LayerNorm(width))
