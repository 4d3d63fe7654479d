"""Small transformers of the benchmark: two models of characters, and a classifier of sentences."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onebasin.networks.vit import PositionEmbedding

PADDING = 0
"""The token of padding of the classifier."""


class Attention(nn.Module):
    """Attention with several heads.

    Args:
        width: size of input and output vectors.
        num_heads: number of query heads.
        num_key_heads: number of key and value heads, a divisor of it.
        bias: whether the linear layers have biases.
    """

    def __init__(self, width: int, num_heads: int, num_key_heads: int, *, bias: bool) -> None:
        super().__init__()
        self.num_heads, self.num_key_heads = num_heads, num_key_heads
        self.size = width // num_heads
        inner = num_key_heads * self.size
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, inner, bias=bias)
        self.value = nn.Linear(width, inner, bias=bias)
        self.output = nn.Linear(width, width, bias=bias)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, rotary: RotaryEmbedding | None = None
    ) -> Tensor:
        """Return attention outputs `(batch, places, width)` from inputs of the same shape.

        Args:
            x: inputs.
            mask: whether a place is attended to, `(batch, 1, 1, places)`; None for causal
                attention.
            rotary: rotary position embedding of queries and keys.
        """
        query = self._heads(self.query(x), self.num_heads)
        key = self._heads(self.key(x), self.num_key_heads)
        value = self._heads(self.value(x), self.num_key_heads)
        if rotary is not None:
            query, key = rotary(query), rotary(key)
        shared = self.num_heads // self.num_key_heads
        if shared > 1:
            key, value = (_repeated(part, shared) for part in (key, value))
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None
        )
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor, number: int) -> Tensor:
        return x.unflatten(-1, (number, self.size)).transpose(1, 2)


def _repeated(x: Tensor, number: int) -> Tensor:
    """Return each head a number of times, as in Llama of transformers."""
    return x[:, :, None].expand(-1, -1, number, -1, -1).flatten(1, 2)


class RotaryEmbedding(nn.Module):
    """Rotary position embedding (Su et al., 2021): each pair of channels is rotated by an angle.

    Channel i forms a pair with channel `i + size / 2`, as in Llama.

    Args:
        places: number of positions.
        size: number of channels of a head.
    """

    cosines: Tensor
    sines: Tensor

    def __init__(self, places: int, size: int) -> None:
        super().__init__()
        frequencies = 10_000 ** (-torch.arange(0, size, 2) / size)
        angles = torch.outer(torch.arange(places), frequencies).repeat(1, 2)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return rotated vectors `(batch, heads, places, size)`."""
        first, second = x.chunk(2, dim=-1)
        return x * self.cosines + torch.cat((-second, first), dim=-1) * self.sines


class Block(nn.Module):
    """Attention and a GELU perceptron, each with LayerNorm before it and a residual connection."""

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads, num_heads, bias=True)
        self.hidden_norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, hidden)
        self.output = nn.Linear(hidden, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return `(batch, places, width)` from inputs of the same shape."""
        x = x + self.attention(self.attention_norm(x), mask)
        return x + self.output(F.gelu(self.hidden(self.hidden_norm(x))))


class GatedBlock(nn.Module):
    """Attention and a SwiGLU perceptron, each with RMSNorm before it and a residual connection."""

    def __init__(self, width: int, num_heads: int, num_key_heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=1e-5)
        self.attention = Attention(width, num_heads, num_key_heads, bias=False)
        self.hidden_norm = nn.RMSNorm(width, eps=1e-5)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.hidden = nn.Linear(width, hidden, bias=False)
        self.output = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, rotary: RotaryEmbedding) -> Tensor:
        """Return `(batch, places, width)` from inputs of the same shape."""
        x = x + self.attention(self.attention_norm(x), rotary=rotary)
        normal = self.hidden_norm(x)
        return x + self.output(F.silu(self.gate(normal)) * self.hidden(normal))


class LayerNormDecoder(nn.Module):
    """A model of characters as GPT-2, with learned positions and an untied head.

    Args:
        vocabulary: number of tokens.
        places: number of positions.
        depth: number of blocks.
        width: size of the vector of each position.
        num_heads: number of heads.
        hidden: number of hidden units of each block.
    """

    def __init__(
        self, vocabulary: int, places: int, *, depth: int, width: int, num_heads: int, hidden: int
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = PositionEmbedding(places, width)
        self.blocks = nn.ModuleList(Block(width, num_heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits of the next token, `(batch, places, vocabulary)`."""
        x = self.positions(self.tokens(tokens))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class RotaryDecoder(nn.Module):
    """A model of characters as Llama: RMSNorm, rotary positions, shared key heads, SwiGLU.

    Args:
        vocabulary: number of tokens.
        places: number of positions.
        depth: number of blocks.
        width: size of the vector of each position.
        num_heads: number of query heads.
        num_key_heads: number of key and value heads.
        hidden: number of hidden units of each block.
    """

    def __init__(
        self,
        vocabulary: int,
        places: int,
        *,
        depth: int,
        width: int,
        num_heads: int,
        num_key_heads: int,
        hidden: int,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.rotary = RotaryEmbedding(places, width // num_heads)
        self.blocks = nn.ModuleList(
            GatedBlock(width, num_heads, num_key_heads, hidden) for _ in range(depth)
        )
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.head = nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits of the next token, `(batch, places, vocabulary)`."""
        x = self.tokens(tokens)
        for block in self.blocks:
            x = block(x, self.rotary)
        return self.head(self.norm(x))


class SentenceClassifier(nn.Module):
    """A classifier of sentences as BERT, with LayerNorm before each layer.

    The output is computed from the mean over all words.

    Args:
        vocabulary: number of tokens.
        places: number of positions.
        depth: number of blocks.
        width: size of the vector of each position.
        num_heads: number of heads.
        hidden: number of hidden units of each block.
        num_classes: number of outputs.
    """

    def __init__(
        self,
        vocabulary: int,
        places: int,
        *,
        depth: int,
        width: int,
        num_heads: int,
        hidden: int,
        num_classes: int = 2,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = PositionEmbedding(places, width)
        self.blocks = nn.ModuleList(Block(width, num_heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits, `(batch, num_classes)`, from tokens `(batch, places)`."""
        is_word = tokens != PADDING
        x = self.positions(self.tokens(tokens))
        for block in self.blocks:
            x = block(x, is_word[:, None, None, :])
        weights = is_word.unsqueeze(-1).to(x.dtype)
        return self.head((self.norm(x) * weights).sum(1) / weights.sum(1))
