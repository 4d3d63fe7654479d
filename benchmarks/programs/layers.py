"""Operators of random programs: layers, generated weights, normalizations and attention."""

from __future__ import annotations

from .program import Writer, by_name

ACTIVATIONS = (
    "{}.relu()",
    "{}.tanh()",
    "F.gelu({})",
    "F.silu({})",
    "{}.sigmoid()",
    "F.elu({})",
    "{}.abs()",
    "{}.sin()",
    "{}.square()",
    "F.leaky_relu({}, 0.2)",
    "F.dropout({}, 0.3, False)",
    "F.softplus({})",
)


def activation(w: Writer, v: str) -> str:
    """An operator on every entry."""
    return w.choice(ACTIVATIONS).format(v)


def linear(w: Writer, v: str) -> str | None:
    """A linear layer on the features."""
    n, m = w.features(v), w.width()
    if not n:
        return None
    return f"F.linear({v}, {_weight(w, m, n)}, {w.parameter(m)})"


def _weight(w: Writer, m: int, n: int) -> str:
    """Return a weight of (m, n): a parameter, most often, or one computed from parameters."""
    kind = w.rng.random()
    if kind < 0.5:
        return w.parameter(m, n)
    rank = w.choice((2, 4))
    p = w.parameter(m, n)
    return w.choice(
        (
            f"{w.parameter(n, m)}.t()",
            f"{w.parameter(m, rank)} @ {w.parameter(rank, n)}",
            f"{w.parameter(m, rank)}.tanh() @ {w.parameter(n, rank)}.t()",
            f"{p} * {w.parameter(m, 1)}",
            f"{p} + torch.outer({w.parameter(m)}, {w.parameter(n)})",
            f"{p} - {p}.mean(1, True)",
            f"{p} / {p}.norm(dim=1, keepdim=True)",
            f"{p} / {p}.norm()",
            f"torch._weight_norm({p}, {w.parameter(m, 1)}, 0)",
            f"torch._weight_norm({p}, {w.parameter(1, n)}, 1)",
            f"{p}.softmax(1)",
            f"{p} * ({p}.abs() > {p}.abs().median())",
            f"torch.cat([{w.parameter(m // 2, n)}, {w.parameter(m - m // 2, n)}])",
            f"torch.stack([{w.parameter(m, n)}, {p}]).sum(0)",
            f"{w.parameter(m * n)}.view({m}, {n})",
            f"{p}.roll(1, 0)",
            f"{p}.tril()",
            f"{p}.flip(1)",
        )
    )


def hypernetwork(w: Writer, v: str) -> list[str] | None:
    """The weight of a layer is another layer's output."""
    n, dims = w.features(v), w.dims[v]
    if not n or dims[:1] != ("B",) or len(dims) != 3:
        return None
    m, k = w.choice((2, 4, 6)), w.choice((3, 4, 6))
    code = f"F.linear({v}.mean(1), {w.parameter(k, n)}).tanh()"
    if w.chance(0.5):
        head = f"F.linear({code}, {w.parameter(m * n, k)})"
        return [f"t0 = {head}.view(-1, {m}, {n})", f"torch.einsum('btn,bmn->btm', {v}, t0)"]
    head = f"F.linear({code}, {w.parameter(n * m, k)})"
    return [f"t0 = {head}.unflatten(-1, ({n}, {m}))", f"torch.bmm({v}, t0)"]


def binary(w: Writer, v: str) -> str:
    """A sum or product with a value of the same dimensions or with a parameter."""
    n, sign = w.features(v), w.choice("+-*")
    if n and w.chance(0.5):
        other = w.choice((w.parameter(n), w.constant(n), w.parameter(1)))
        return f"{v} {sign} {other}"
    return f"{v} {sign} {w.like(v)}.{w.choice(('tanh()', 'sigmoid()', 'neg()'))}"


def bilinear(w: Writer, v: str) -> str | None:
    """Products of two sets of features, or of features with each other."""
    n = w.features(v)
    if not 0 < n <= 8:
        return None
    m = w.choice((2, 4))
    return w.choice(
        (
            f"torch.einsum('...i,...j,kij->...k', {v}, {w.like(v)}, {w.parameter(m, n, n)})",
            f"({v}[..., :, None] * {v}[..., None, :]).flatten(-2)",
            f"torch.einsum('...i,ij,...j->...', {v}, {w.parameter(n, n)}, {v}).unsqueeze(-1)",
            f"({v}[..., :, None] - {w.parameter(m, n).strip()}.t()).square().sum(-2)",
        )
    )


def normalization(w: Writer, v: str) -> str | None:
    """A normalization of the features, of groups of them, or of positions."""
    n, dims = w.features(v), w.dims[v]
    if not n:
        return None
    scale, shift, k = w.parameter(n), w.parameter(n), w.divisor(n)
    choices = [
        f"F.layer_norm({v}, ({n},), {scale}, {shift})",
        f"F.rms_norm({v}, ({n},), {scale})",
        f"F.normalize({v}, dim=-1) * {scale}",
        f"{v}.softmax(-1)",
        f"({v} - {v}.mean(-1, True)) / ({v}.std(-1, keepdim=True) + 1)",
        f"{v} / ({v}.norm(dim=-1, keepdim=True) + 1)",
    ]
    if k:
        choices.append(f"F.normalize({v}.unflatten(-1, ({k}, {n // k})), dim=-1).flatten(-2)")
        choices.append(f"{v}.unflatten(-1, ({k}, {n // k})).softmax(-2).flatten(-2)")
    if len(dims) == 3:
        moved = f"{v}.transpose(1, 2)"
        choices.append(
            f"F.batch_norm({moved}, {w.constant(n)}, {w.constant(n)}.abs() + 1, {scale}, {shift})"
            ".transpose(1, 2)"
        )
        choices.append(f"F.group_norm({moved}, {k or 1}, {scale}, {shift}).transpose(1, 2)")
        choices.append(f"{v}.softmax(1)")
    return w.choice(choices)


def attention(w: Writer, v: str) -> list[str] | None:
    """Attention over positions, with equal or fewer key heads, and several masks."""
    n, dims = w.features(v), w.dims[v]
    if not n or len(dims) != 3:
        return None
    heads, width = w.choice((2, 3, 4)), w.choice((2, 3))
    key_heads = w.choice((heads, heads, 1, 2 if heads == 4 else heads))
    value_heads = w.choice((key_heads, key_heads, heads if key_heads == 1 else key_heads))

    def projected(count: int) -> str:
        weight = w.parameter(count * width, n)
        if w.chance(0.2):
            return f"F.linear({v}, {weight}).unflatten(-1, ({width}, {count})).permute(0, 3, 1, 2)"
        return f"F.linear({v}, {weight}).unflatten(-1, ({count}, {width})).transpose(1, 2)"

    shared = key_heads not in (1, heads)
    q, k, value = projected(heads), projected(key_heads), projected(value_heads)
    rows = f"torch.arange({v}.shape[1])"
    masks = ("", ", is_causal=True", f", attn_mask={rows}[:, None] - {rows} < 2")
    mask = w.choice(masks) + (", enable_gqa=True" if shared else "")
    merged = w.choice(("transpose(1, 2).flatten(2)", "permute(0, 2, 3, 1).flatten(2)"))
    return [f"t0 = F.scaled_dot_product_attention({q}, {k}, {value}{mask})", f"t0.{merged}"]


def convolution(w: Writer, v: str) -> str | None:
    """A convolution with padding, over positions or over an image."""
    dims = w.dims[v]
    if len(dims) not in (3, 4) or dims[0] != "B":
        return None
    rank = len(dims) - 2
    channels = dims[1] if rank == 2 else dims[-1]
    if not isinstance(channels, int):
        return None
    groups = w.choice((1, 1, w.divisor(channels) or 1, channels))
    out = groups * w.choice((1, 2, 3, 4))
    kernel = w.choice((1, 3))
    weight = w.parameter(out, channels // groups, *[kernel] * rank)
    if w.chance(0.2):
        weight = f"({weight} * {w.parameter(out, *[1] * (rank + 1))})"
    operand = v if rank == 2 else f"{v}.transpose(1, 2)"
    code = f"F.conv{rank}d({operand}, {weight}, padding={kernel // 2}, groups={groups})"
    return code if rank == 2 else f"{code}.transpose(1, 2)"


def image_step(w: Writer, v: str) -> str | None:
    """Pooling, normalization or padding of an image; or a mean over its positions."""
    dims = w.dims[v]
    if len(dims) != 4 or not isinstance(dims[1], int):
        return None
    c = dims[1]
    return w.choice(
        (
            f"F.max_pool2d({v}, 3, 1, 1)",
            f"F.avg_pool2d({v}, 3, 1, 1)",
            f"F.batch_norm({v}, {w.constant(c)}, {w.constant(c)}.abs() + 1, {w.parameter(c)})",
            f"F.group_norm({v}, {w.divisor(c) or 1}, {w.parameter(c)})",
            f"F.instance_norm({v})",
            f"{v} * {v}.mean((2, 3), True).sigmoid()",
            f"{v} * {v}.amax(1, True).sigmoid()",
            f"{v} + {w.parameter(c, 1, 1)}",
            f"{v}.mean((2, 3))",
            f"{v}.flatten(2).transpose(1, 2)",
            f"{v}.flatten(2).mean(2)",
            f"torch.cat([{v}, {v}.flip(1)], 1)",
            f"F.local_response_norm({v}, 3)",
            f"F.adaptive_avg_pool2d({v}, 1).flatten(1)",
            f"F.interpolate({v}, scale_factor=2)[:, :, ::2, ::2]",
        )
    )


LAYERS = by_name(
    {
        activation: 4,
        linear: 5,
        hypernetwork: 1.5,
        binary: 4,
        bilinear: 1,
        normalization: 3,
        attention: 2,
        convolution: 2,
        image_step: 3,
    }
)
