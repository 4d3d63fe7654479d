"""Operators of random programs that write in place, most of them through a view or an alias."""

from __future__ import annotations

from .program import Writer, by_name


def slice_write(w: Writer, v: str) -> list[str] | None:
    """A part of the features or of the positions is changed by its own values."""
    n = w.features(v)
    if n < 2:
        return None
    low, high = w.interval(n)
    part = w.choice((f"[..., {low}:{high}]", f"[..., {low}]", "[..., ::2]", "[0]", "[:, 0]"))
    change = w.choice(("relu_()", "tanh_()", "sigmoid_()", "mul_(2.0)", "neg_()", "zero_()"))
    return [f"{v}{part}.{change}", ""]


def slice_sum(w: Writer, v: str) -> list[str] | None:
    """A parameter or another value is added to a part of the features."""
    n = w.features(v)
    if n < 2:
        return None
    low, high = w.interval(n)
    if w.chance(0.5):
        return [f"{v}[..., {low}:{high}].add_({w.parameter(high - low)})", ""]
    other = w.like(v)
    verb = w.choice(("add_", "mul_", "copy_"))
    return [f"{v}[..., {low}:{high}].{verb}({other}[..., {low}:{high}].tanh())", ""]


def assignment(w: Writer, v: str) -> list[str] | None:
    """Entries are assigned by index."""
    n = w.features(v)
    if n < 2:
        return None
    half = n // 2
    return w.choice(
        [
            [f"{v}[..., :{half}] = {w.like(v)}[..., -{half}:]", ""],
            [f"{v}[:, 0] = {w.parameter(n)}", ""],
            [f"{v}[:, -1:] = {v}[:, :1].clone()", ""],
            [f"{v}[:, 1:] += {v}[:, :-1].clone()", ""],
            [f"{v}[..., {w.rng.randrange(n)}] = 0.5", ""],
            [f"{v}[..., [0, {n - 1}]] = {v}[..., [{n - 1}, 0]]", ""],
            [f"{v}[{v} < 0] = -0.1", ""],
        ]
    )


def view_write(w: Writer, v: str) -> list[str] | None:
    """A reshaped, transposed or detached alias is changed."""
    n = w.features(v)
    k = w.divisor(n)
    if k is None:
        return None
    rest = n // k
    opened = f"{v}.unflatten(-1, ({k}, {rest}))"
    aliases = [
        (f"{opened}[..., 0, :]", rest),
        (f"{opened}[..., 0]", k),
        (f"{opened}.transpose(-1, -2)", k),
        (f"{opened}.select(-2, {k - 1})", rest),
        (f"{v}.detach()", n),
        (f"{v}.view_as({v})", n),
        (f"{v}.chunk({k}, -1)[{k - 1}]", rest),
        (f"{v}.split({rest}, -1)[0]", rest),
        (f"{v}.narrow(-1, {rest}, {n - rest})", n - rest),
        (f"{v}.movedim(-1, 0)[:{rest}].movedim(0, -1)", rest),
        (f"F.dropout({v}, 0.5, False)", n),
        (f"torch.einsum('...c->c...', {v}).movedim(0, -1)", n),
        (f"{v}.squeeze()", n),
        (f"{v}[None].expand(1, *{v}.shape)[0]", n),
    ]
    alias, size = w.choice(aliases)
    change = w.choice((f"add_({w.parameter(size)})", f"mul_({w.parameter(size)})", "tanh_()"))
    return [f"{alias}.{change}", ""]


def stale_view(w: Writer, v: str) -> list[str] | None:
    """A view is taken, its base is changed, and the view is read."""
    n = w.features(v)
    k = w.divisor(n)
    if k is None:
        return None
    view = w.choice(
        (
            f"{v}.flatten(-1)",
            f"{v}.unflatten(-1, ({k}, {n // k})).flatten(-2)",
            f"{v}.transpose(0, 1)",
            f"{v}[..., :{n // k}]",
            f"{v}.detach()",
            f"F.dropout({v}, 0.1, False)",
            f"{v}.contiguous()",
        )
    )
    change = w.choice((f"add_({w.parameter(n)})", f"mul_({w.parameter(n)})", "relu_()", "neg_()"))
    read = "t0.transpose(0, 1)" if ".transpose(" in view else "t0"
    return [f"t0 = {view}", f"{v}.{change}", f"{read}.tanh()"]


def filled_buffer(w: Writer, v: str) -> list[str] | None:
    """An empty tensor is filled part by part."""
    n = w.features(v)
    if n < 2:
        return None
    other, half = w.like(v), n // 2
    return w.choice(
        [
            [
                f"t0 = {v}.new_zeros(2, *{v}.shape)",
                f"t0[1].add_({v})",
                f"t0[0] = {other}",
                f"t0.{w.choice(('sum(0)', 'amax(0)', 'cumsum(0)[1]', 'tanh().sum(0)'))}",
            ],
            [
                f"t0 = torch.empty_like({v})",
                f"t0[..., :{half}] = {v}[..., {n - half}:]",
                f"t0[..., {half}:] = {other}[..., :{n - half}]",
                "t0 * 1.0",
            ],
            [
                f"t0 = torch.zeros_like({v})",
                f"torch.add({v}, {other}, out=t0)",
                "t0.tanh()",
            ],
            [f"t0 = {v}.clone()", f"t0[..., {half}:].mul_({v}[..., {half}:])", "t0"],
        ]
    )


def indexed_write(w: Writer, v: str) -> list[str] | None:
    """Features at numbered places are written."""
    n = w.features(v)
    if n < 2:
        return None
    order = w.order(n)
    places = f"torch.tensor({order[: w.rng.randint(1, n)]})"
    return w.choice(
        [
            [f"{v}.index_fill_(-1, {places}, 0.3)", ""],
            [f"{v}.index_add_(-1, {places}, {w.like(v)}.index_select(-1, {places}))", ""],
            [f"{v}.index_copy_(-1, {places}, {w.like(v)}.index_select(-1, {places}).tanh())", ""],
            [f"{v}.masked_fill_({w.like(v)} > 0, 0.1)", ""],
            [f"{v}.masked_fill_(torch.arange({n}) < {n // 2}, 0.1)", ""],
            [f"{v}.scatter_(-1, {v}.argmax(-1, True), 0.7)", ""],
            [f"{v}.clamp_({w.parameter(n)}.min())", ""],
            [f"{v}.addcmul_({w.like(v)}, {w.parameter(n)})", ""],
            [f"{v}.lerp_({w.like(v)}, {w.parameter(n)}.sigmoid())", ""],
        ]
    )


def repeated_in_place(w: Writer, v: str) -> list[str] | None:
    """A fresh tensor is changed several times: no alias sees it."""
    n = w.features(v)
    return None if not n else [f"{v}.mul(2.0).relu_().add_({w.parameter(n)}).sigmoid_()"]


WRITES = by_name(
    {
        slice_write: 2,
        slice_sum: 2,
        assignment: 2,
        view_write: 3,
        stale_view: 2,
        filled_buffer: 2,
        indexed_write: 2,
        repeated_in_place: 1,
    }
)
