"""Lines of random programs: pointwise operators, reductions and products."""

from __future__ import annotations

from math import prod

from tests.symmetry.inference.random_programs import Writer

SMOOTH = (
    "torch.tanh({})", "F.relu({})", "F.gelu({})", "{}.sigmoid()", "{}.sin()", "{} * {}",
    "F.softplus({})", "{}.abs()", "2.0 * {} - 1.0", "1.5 - {}", "{}.clamp(-1.0, 1.0)",
    "torch.where({} > 0.0, {}, 0.1 * {})", "{}.masked_fill({} > 0.5, 0.5)", "F.silu({})",
    "F.dropout({}, 0.5, False)", "{} / (1.0 + {}.square())", "F.relu({}.clone(), inplace=True)",
    "{}.to(torch.float64)", "{}.contiguous()", "F.leaky_relu({}, 0.2)", "{}.detach()",
)  # fmt: skip
BINARY = (
    "{} + {}", "{} + {}", "{} - {}", "{} * {}", "{} * {}", "torch.maximum({}, {})",
    "torch.add({}, {}, alpha=0.5)", "torch.where({0} > {1}, {0}, {1})", "torch.atan2({}, {})",
    "torch.lerp({}, {}, 0.3)", "torch.addcmul({0}, {1}, {0})", "{}.clone().add_({})",
)  # fmt: skip


def unary(w: Writer, a: str) -> str:
    return w.rng.choice(SMOOTH).replace("{}", a)


def binary(w: Writer, a: str) -> str:
    shape = list(w.shape(a))
    same = [n for n in w.matching(lambda s: s == w.shape(a)) if n != a]
    if same and w.chance(0.4):
        b = w.rng.choice(same)
    else:
        shape = [1 if w.chance(0.35) else size for size in shape[w.rng.randrange(len(shape) + 1) :]]
        b = w.weight(*shape)
    text = w.rng.choice(BINARY)
    if "add_" not in text and "lerp" not in text and w.chance(0.3):
        return text.format(b, a)
    return text.format(a, b)


def outer_sum(w: Writer, a: str) -> str:
    """All pairs of positions of two axes."""
    dim = w.axis(a) or 0
    if not w.shape(a):
        return f"{a} + {a}"
    sign = w.rng.choice("+-*")
    return f"{a}.unsqueeze({dim}) {sign} {a}.unsqueeze({dim + 1})"


def linear(w: Writer, a: str) -> str | None:
    if not w.shape(a):
        return None
    inside = w.shape(a)[-1]
    outside = inside if w.chance(0.3) else w.size()
    bias = f", {w.weight(outside)}" if w.chance(0.6) else ""
    return f"F.linear({a}, {w.weight(outside, inside)}{bias})"


def matmul(w: Writer, a: str) -> str | None:
    shape = w.shape(a)
    if len(shape) < 2:
        return f"{a} @ {w.weight(*shape, w.size())}" if shape else None
    kind = w.rng.randrange(6)
    if kind == 0:
        return f"{w.weight(w.size(), shape[-2])} @ {a}"
    if kind == 1:
        return f"{a} @ {a}.mT" if w.chance(0.5) else f"{a}.mT @ {a}"
    if kind == 2:
        batch = [1 if w.chance(0.3) else size for size in shape[:-2]]
        return f"torch.matmul({a}, {w.weight(*batch, shape[-1], w.size())})"
    if kind == 3 and len(shape) == 3:
        return f"torch.bmm({a}, {w.weight(shape[0], shape[2], w.size())})"
    if kind == 4:
        return f"torch.matmul({a}, {w.weight(shape[-1])})"
    return f"{a} @ {w.weight(shape[-1], w.size())}"


def contraction(w: Writer, a: str) -> str | None:
    """An einsum with a new operand that shares some dimensions."""
    shape = w.shape(a)
    if not 0 < len(shape) < 5:
        return None
    letters = "abcd"[: len(shape)]
    shared = w.rng.sample(letters, w.rng.randint(1, len(letters)))
    other = [*shared, *(["z"] if w.chance(0.6) else [])]
    w.rng.shuffle(other)
    sizes = dict(zip(letters, shape, strict=True), z=w.size())
    result = [letter for letter in {**dict.fromkeys(letters), **dict.fromkeys(other)}]
    result = [letter for letter in result if letter not in shared or w.chance(0.5)]
    w.rng.shuffle(result)
    operand = w.weight(*(sizes[letter] for letter in other))
    return f"torch.einsum('{letters},{''.join(other)}->{''.join(result)}', {a}, {operand})"


def bilinear(w: Writer, a: str) -> str | None:
    if not w.shape(a):
        return None
    size, out = w.shape(a)[-1], w.size()
    bias = w.weight(out) if w.chance(0.5) else None
    return f"F.bilinear({a}, {a}, {w.weight(out, size, size)}, {bias})"


def convolution(w: Writer, a: str) -> str | None:
    shape = w.shape(a)
    rank = len(shape) - 2
    if rank not in (1, 2):
        return None
    groups = w.divisor(shape[1])
    out = groups * w.rng.choice((1, 2, 3))
    kernel = [min(w.rng.choice((1, 1, 2, 3)), size) for size in shape[2:]]
    bias = w.weight(out) if w.chance(0.5) else None
    options = f"groups={groups}"
    if w.chance(0.3):
        options += f", padding={w.rng.choice((0, 1))}"
    if w.chance(0.3):
        options += f", stride={w.rng.choice((1, 2))}"
    if w.chance(0.25):
        weight = w.weight(shape[1], out // groups, *kernel)
        return f"F.conv_transpose{rank}d({a}, {weight}, {bias}, groups={groups})"
    weight = w.weight(out, shape[1] // groups, *kernel)
    return f"F.conv{rank}d({a}, {weight}, {bias}, {options})"


def pooling(w: Writer, a: str) -> str | None:
    shape = w.shape(a)
    rank = len(shape) - 2
    if rank not in (1, 2) or min(shape[2:]) < 2:
        return None
    names = ["F.max_pool{}d({}, 2)", "F.avg_pool{}d({}, 2)", "F.adaptive_avg_pool{}d({}, 1)",
             "F.max_pool{}d({}, 3, stride=1, padding=1)", "F.adaptive_max_pool{}d({}, 2)",
             "F.adaptive_avg_pool{}d({}, 2)"]  # fmt: skip
    if rank == 2:
        names += ["F.interpolate({1}, scale_factor=2.0)", "F.pad({1}, (1, 1, 1, 0), 'reflect')"]
    return w.rng.choice(names).format(rank, a)


def softmaxing(w: Writer, a: str) -> str | None:
    dim = w.axis(a)
    name = w.rng.choice(("softmax", "softmax", "log_softmax"))
    return None if dim is None else f"{a}.{name}({dim})"


def reduction(w: Writer, a: str) -> str | None:
    if not w.shape(a):
        return None
    keep = w.rng.choice(("True", "False"))
    name = w.rng.choice(("sum", "sum", "mean", "amax", "amin", "logsumexp", "square().sum", "any"))
    if name == "any":
        single = w.rng.choice(("prod({}, {})", "max({}, {})[0]", "contiguous().median({}, {})[0]"))
        return f"{a}.{single.format(w.axis(a), keep)}"
    return f"{a}.{name}({w.axes(a)}, {keep})"


def spread(w: Writer, a: str) -> str | None:
    """A value normalized by one of its statistics."""
    if not w.shape(a):
        return None
    dims = w.axes(a)
    kinds = (f"{a} - {a}.mean({dims}, True)", f"{a} / (1.0 + {a}.square().sum({dims}, True))",
             f"F.normalize({a}, dim={dims[0]})", f"{a} * {a}.amax({dims}, True)",
             f"({a}.var({dims}, correction=0, keepdim=True) + 0.1).rsqrt() * {a}")  # fmt: skip
    return w.rng.choice(kinds)


def layer_norm(w: Writer, a: str) -> str | None:
    shape = w.shape(a)
    if not shape:
        return None
    last = shape[w.rng.randrange(len(shape)) :] if w.chance(0.4) else shape[-1:]
    if prod(last) < 2:
        return None
    if w.chance(0.3):
        return f"F.rms_norm({a}, {last}, {w.weight(*last)}, 0.1)"
    weight, bias = (w.weight(*last) if w.chance(0.7) else None for _ in range(2))
    return f"F.layer_norm({a}, {last}, {weight}, {bias}, 0.1)"


def group_norm(w: Writer, a: str) -> str | None:
    shape = w.shape(a)
    if len(shape) < 2 or prod(shape[1:]) < 2:
        return None
    groups = w.divisor(shape[1])
    if prod(shape[1:]) == groups:
        return None
    weight, bias = (w.weight(shape[1]) if w.chance(0.7) else None for _ in range(2))
    return f"F.group_norm({a}, {groups}, {weight}, {bias}, 0.1)"


def batch_norm(w: Writer, a: str) -> str | None:
    shape = w.shape(a)
    if len(shape) < 2:
        return None
    mean, variance = (w.source("statistics", (shape[1],)) for _ in range(2))
    weight, bias = (w.weight(shape[1]) if w.chance(0.7) else None for _ in range(2))
    return f"F.batch_norm({a}, {mean}, {variance}, {weight}, {bias})"


def attention(w: Writer, a: str) -> str | None:
    shape = w.shape(a)
    if len(shape) < 3:
        return None
    if w.chance(0.25):
        scores = f"({a} @ {a}.mT).softmax({w.rng.choice((-1, -1, -2, -3))})"
        return f"{scores} @ {a}"
    keys = shape[-2] if w.chance(0.5) else w.size()
    q, k = (a if w.chance(0.4) else None for _ in range(2))
    k = k if k and keys == shape[-2] else w.weight(*shape[:-2], keys, shape[-1])
    q = q or w.weight(*shape)
    v = a if keys == shape[-2] and w.chance(0.6) else w.weight(*shape[:-2], keys, w.size())
    causal = keys == shape[-2] and w.chance(0.3)
    mask = f", {w.weight(shape[-2], keys)}" if not causal and w.chance(0.3) else ""
    options = ", is_causal=True" if causal else mask
    return f"F.scaled_dot_product_attention({q}, {k}, {v}{options})"


def heads(w: Writer, a: str) -> str | None:
    """Multi-head attention with a fused projection."""
    shape = w.shape(a)
    if len(shape) != 3:
        return None
    h, d = w.rng.choice((1, 2, 3)), w.rng.choice((1, 2, 3))
    fused = f"F.linear({a}, {w.weight(3 * h * d, shape[2])})"
    views = w.rng.choice((
        f"{fused}.view({shape[0]}, {shape[1]}, 3, {h}, {d}).permute(2, 0, 3, 1, 4)",
        f"{fused}.view({shape[0]}, {shape[1]}, {h}, 3, {d}).permute(3, 0, 2, 1, 4)",
        f"{fused}.view({shape[0]}, {shape[1]}, {h}, {d}, 3).permute(4, 0, 2, 1, 3)",
    ))  # fmt: skip
    merged = w.rng.choice((".transpose(1, 2).flatten(2)", "", ".transpose(1, 2).flatten(2)"))
    return f"F.scaled_dot_product_attention(*{views}){merged}"


def distances(w: Writer, a: str) -> str | None:
    shape = w.shape(a)
    if len(shape) < 2:
        return None
    return f"torch.cdist({a}, {a if w.chance(0.5) else w.weight(*shape[:-2], w.size(), shape[-1])})"
