"""Lines of random programs that slice, concatenate, reorder and index dimensions."""

from __future__ import annotations

from math import prod

from tests.symmetry.inference.random_programs import Writer, listed


def concatenation(w: Writer, a: str) -> str | None:
    dim = w.axis(a)
    if dim is None:
        return None
    shape = list(w.shape(a))
    shape[dim] = w.size() if w.chance(0.5) else shape[dim]
    others = [w.weight(*shape) for _ in range(w.rng.choice((1, 1, 2)))]
    if w.chance(0.2):
        others.append(a)
    parts = [a, *others]
    w.rng.shuffle(parts)
    return f"torch.cat([{listed(parts)}], {dim})"


def stacking(w: Writer, a: str) -> str:
    dim = w.rng.randint(0, len(w.shape(a)))
    parts = [a, *(w.weight(*w.shape(a)) for _ in range(w.rng.choice((1, 1, 2))))]
    return f"torch.stack([{listed(parts)}], {dim})"


def splitting(w: Writer, a: str) -> str | None:
    dim = w.axis(a, 2)
    if dim is None:
        return None
    size = w.shape(a)[dim]
    kind = w.rng.randrange(4)
    if kind == 0 and size <= 4:
        return f"{a}.unbind({dim})"
    if kind == 1:
        return f"{a}.chunk({w.rng.choice((2, 3))}, {dim})"
    if kind == 2 and size % 2 == 0:
        return f"{a}.split({size // 2}, {dim})"
    cut = w.rng.randint(1, size - 1)
    return f"{a}.split([{cut}, {size - cut}], {dim})"


def reshaping(w: Writer, a: str) -> str | None:
    shape, rank = list(w.shape(a)), len(w.shape(a))
    if not rank:
        return f"{a}.reshape(1, 1)"
    kind = w.rng.randrange(5)
    if kind == 0 and rank > 1:
        i = w.rng.randrange(rank - 1)
        return f"{a}.flatten({i}, {w.rng.randint(i + 1, rank - 1)})"
    if kind in (1, 2):
        dim = w.axis(a)
        outer = w.divisor(shape[dim])
        return f"{a}.unflatten({dim}, ({outer}, {shape[dim] // outer}))"
    if kind == 3:
        return f"{a}.reshape({listed(w.rng.sample(shape, rank))})"
    sizes, rest = [], prod(shape)
    for _ in range(w.rng.randint(0, 3)):
        sizes.append(w.divisor(rest))
        rest //= sizes[-1]
    return f"{a}.reshape({listed([*sizes, rest])})"


def permuting(w: Writer, a: str) -> str | None:
    rank = len(w.shape(a))
    if rank < 2:
        return None
    order = w.rng.sample(range(rank), rank)
    if w.chance(0.4):
        return f"{a}.transpose({order[0]}, {order[1]})"
    if w.chance(0.3):
        return f"{a}.movedim({order[0]}, {order[1]})"
    return f"{a}.permute({listed(order)})"


def gathering(w: Writer, a: str) -> str | None:
    dim = w.axis(a, 2)
    if dim is None:
        return None
    size = w.shape(a)[dim]
    some = [w.rng.randrange(size) for _ in range(w.rng.randint(1, 5))]
    kinds = (f"{a}.index_select({dim}, torch.tensor({some}))",
             f"{a}[{':, ' * dim}{some}]",
             f"{a}[{':, ' * dim}torch.arange({size}) // 2]",
             f"{a}[{':, ' * dim}torch.arange({size}) % 2]",
             f"torch.take_along_dim({a}, {a}.argsort({dim}), {dim})",
             f"{a}.gather({dim}, torch.full_like({a}, {some[0]}, dtype=torch.long))",
             f"{a}.gather({dim}, {a}.argmax({dim}, True))")  # fmt: skip
    return w.rng.choice(kinds)


def scattering(w: Writer, a: str) -> str | None:
    dim = w.axis(a, 2)
    if dim is None:
        return None
    shape = list(w.shape(a))
    some = w.rng.sample(range(shape[dim]), 2)
    b = w.weight(*shape[:dim], 2, *shape[dim + 1 :])
    index = f"torch.tensor({some})"
    before = ", ".join(["slice(None)"] * dim)
    before += ", " * bool(before)
    low = w.rng.randint(0, shape[dim] - 2)
    kinds = (f"{a}.index_add({dim}, {index}, {b})", f"{a}.index_copy({dim}, {index}, {b})",
             f"{a}.slice_scatter({b}, {dim}, {low}, {low + 2})",
             f"placed({a}, ({before}slice({low}, {low + 2})), {b})",
             f"placed({a}, ({before}{some}), {b})",
             f"placed({a}, ({before}{low}), {b}.select({dim}, 0))",
             f"{a}.scatter_add({dim}, torch.ones_like({b}, dtype=torch.long), {b})")  # fmt: skip
    return w.rng.choice(kinds)


def slicing(w: Writer, a: str) -> str | None:
    dim = w.axis(a, 2)
    if dim is None:
        return None
    size, before = w.shape(a)[dim], ":, " * dim
    low = w.rng.randrange(size)
    high = w.rng.randint(low + 1, size)
    kinds = (f"{before}{low}:{high}", f"{before}{low}:{high}", f"{before}{low}",
             f"{before}{w.rng.randint(0, 1)}::2", f"{before}::{w.divisor(size)}",
             f"{before}{low}::{w.rng.choice((2, 3))}")  # fmt: skip
    return f"{a}[{w.rng.choice(kinds)}]"


def shifting(w: Writer, a: str) -> str | None:
    dim = w.axis(a, 2)
    if dim is None:
        return None
    size = w.shape(a)[dim]
    shifted = w.rng.choice((f"{a}.flip({dim})", f"{a}.roll({w.rng.randint(1, size)}, {dim})"))
    return f"{a} * {shifted}" if w.chance(0.3) else shifted


def neighbors(w: Writer, a: str) -> str | None:
    """Combinations of neighboring positions of one dimension."""
    dim = w.axis(a, 2)
    if dim is None:
        return None
    size = w.shape(a)[dim]
    by = w.rng.randint(1, size - 1)
    sign = w.rng.choice("+*-")
    return f"{a}.narrow({dim}, 0, {size - by}) {sign} {a}.narrow({dim}, {by}, {size - by})"


def repeating(w: Writer, a: str) -> str | None:
    rank, times = len(w.shape(a)), w.rng.choice((2, 2, 3))
    dim = w.axis(a)
    if dim is None:
        return f"{a}.expand({w.size()}, {w.size()})"
    repeats = [1] * rank
    repeats[dim] = times
    new = w.rng.randint(0, rank)
    expanded = [*w.shape(a)[:new], times, *w.shape(a)[new:]]
    kinds = (f"{a}.repeat({listed(repeats)})", f"{a}.repeat_interleave({times}, {dim})",
             f"{a}.unsqueeze({new}).expand({listed(expanded)})",
             f"{a}.unsqueeze({new}).expand({listed(expanded)})",
             f"torch.tile({a}, ({times},))")  # fmt: skip
    return w.rng.choice(kinds)


def padding(w: Writer, a: str) -> str | None:
    rank = len(w.shape(a))
    if not rank:
        return None
    count = w.rng.randint(1, min(rank, 3))
    pads = [w.rng.choice((0, 0, 1, 2)) for _ in range(2 * count)]
    return f"F.pad({a}, {tuple(pads)}, value={w.rng.choice((0.0, 0.5))})"


def constant(w: Writer, a: str) -> str | None:
    """A tensor with position-dependent entries, or with equal entries."""
    dim = w.axis(a)
    if dim is None:
        return None
    shape = w.shape(a)
    same = f"torch.arange({shape[dim]})[:{', None' * (len(shape) - dim - 1)}]"
    kinds = [f"{a} + {same}", f"{a} * torch.ones_like({same})", f"{a} + torch.zeros_like({a})",
             f"{a} * ({same} > 0)", f"{a} * torch.full({shape}, 0.5)",
             f"torch.where({same} < 1, {a}, 0.0)"]  # fmt: skip
    if len(shape) > 1 and shape[-1] == shape[-2]:
        eye = f"torch.eye({shape[-1]})"
        kinds += [f"{a} + {eye}", f"{a}.tril()", f"{a} + {a}.mT", f"{a}.diagonal(0, -2, -1)",
                  f"{a}.masked_fill({eye} > 0, 0.0)"]  # fmt: skip
    return w.rng.choice(kinds)


def shuffling(w: Writer, a: str) -> str | None:
    shape = w.shape(a)
    if len(shape) != 4:
        return None
    groups = w.divisor(shape[1])
    kinds = [f"F.channel_shuffle({a}, {groups})", f"F.unfold({a}, 1)"]
    if shape[1] % 4 == 0:
        kinds.append(f"F.pixel_shuffle({a}, 2)")
    if shape[2] % 2 == 0 and shape[3] % 2 == 0:
        kinds.append(f"F.pixel_unshuffle({a}, 2)")
    return w.rng.choice(kinds)


def windowing(w: Writer, a: str) -> str | None:
    dim = w.axis(a, 2)
    return None if dim is None else f"{a}.unfold({dim}, 2, {w.rng.choice((1, 2))})"


def gating(w: Writer, a: str) -> str | None:
    dims = [i for i, size in enumerate(w.shape(a)) if size % 2 == 0]
    return f"F.glu({a}, {w.rng.choice(dims)})" if dims else None


def ordering(w: Writer, a: str) -> str | None:
    dim = w.axis(a, 2)
    if dim is None:
        return None
    kinds = (f"{a}.cumsum({dim})", f"{a}.cummax({dim})[0]", f"{a}.sort({dim})[0]",
             f"{a}.diff(dim={dim})",
             f"{a}.topk({w.rng.randint(1, w.shape(a)[dim])}, {dim})[0]",
             f"{a} * {a}.argsort({dim})",
             f"{a} * {a}.argmax({dim}, True)")  # fmt: skip
    return w.rng.choice(kinds)


def embedding(w: Writer, a: str) -> str | None:
    if w.chance(0.5) or not w.shape(a):
        ids = w.source("tokens", (2, w.rng.choice((2, 3, 4))))
        return f"F.embedding({ids}, {w.weight(w.rng.choice((2, 4, 6)), w.size())})"
    dim = w.axis(a)
    return f"F.embedding({a}.argmax({dim}), {w.weight(w.shape(a)[dim], w.size())})"
