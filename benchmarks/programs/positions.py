"""Operators of random programs that rearrange, reduce, sort and address entries."""

from __future__ import annotations

from .program import TABLE, Writer, by_name

STATISTICS = (
    "mean({0}, True)",
    "sum({0}, True)",
    "amax({0}, True)",
    "logsumexp({0}, True)",
    "var({0}, keepdim=True)",
    "norm(dim={0}, keepdim=True)",
    "median({0}, True)[0]",
    "max({0}, True)[0]",
    "min({0}, True)[0]",
    "sort({0})[0]",
    "kthvalue(2, {0}, True)[0]",
    "prod({0}, True)",
    "cummax({0})[0]",
    "topk(2, {0})[0].mean({0}, True)",
)


def table_of_positions(w: Writer, v: str) -> str | None:
    """A table with more rows than there are positions, read by position."""
    n, dims = w.features(v), w.dims[v]
    if not n or len(dims) != 3:
        return None
    length = f"{v}.shape[1]"
    rows = f"torch.arange({length})"
    table = w.parameter(TABLE, n)
    return w.choice(
        (
            f"{v} + {table}[:{length}]",
            f"{v} * {table}[-{length}:]",
            f"{v} + F.embedding({rows}, {table})",
            f"{v} + {table}[{rows} % 3]",
            f"{v} + {w.parameter(1, TABLE, n)}[:, :{length}]",
            f"torch.einsum('ts,bsc->btc', {w.parameter(TABLE, TABLE)}[:{length}, :{length}], {v})",
            f"torch.cat([{w.parameter(1, 2, n)}.expand({v}.shape[0], 2, {n}), {v}], 1)[:, 2:]",
            f"torch.cat([{w.parameter(1, 2, n)}.expand({v}.shape[0], 2, {n}), {v}], 1)[:, :-2]",
            f"{v} * ({rows}[:, None] < 2)",
            f"{v} + {table}[({rows}[:, None] - {rows} + 3).clamp(0, 6)].mean(1)",
        )
    )


def moved_positions(w: Writer, v: str) -> str | None:
    """Positions or features change places in a fixed way."""
    n = w.features(v)
    if n < 2:
        return None
    order = w.order(n)
    return w.choice(
        (
            f"{v}.roll(1, 1)",
            f"{v}.roll({w.rng.randrange(n)}, -1)",
            f"{v}.flip(1)",
            f"{v}.flip(-1)",
            f"{v}[..., {order}]",
            f"{v}.index_select(-1, torch.tensor({order}))",
            f"{v}.cumsum(1)",
            f"{v}.cumsum(-1)",
            f"F.pad({v}[:, 1:].transpose(1, -1), (0, 1)).transpose(1, -1)",
            f"torch.cat([{v}[..., ::2], {v}[..., 1::2]], -1)",
            f"torch.stack([{v}, {v}.tanh()], -1).flatten(-2)",
            f"{v} * torch.linspace(0.5, 1.5, {n}, dtype={v}.dtype)",
            f"torch.where(torch.arange({n}) < {n // 2}, {v}, {v}.tanh())",
            f"F.pad({v}, (1, {w.choice((0, 2))}))",
            f"{v}.diff(dim=-1, prepend={w.like(v)}[..., :1])",
        )
    )


def reshaping(w: Writer, v: str) -> str | None:
    """Features are split into factors that are processed separately."""
    n = w.features(v)
    k = w.divisor(n)
    if k is None:
        return None
    m = n // k
    opened = f"{v}.unflatten(-1, ({k}, {m}))"
    return w.choice(
        (
            f"{opened}.transpose(-1, -2).flatten(-2)",
            f"{opened}.mean(-1)",
            f"{opened}.sum(-2)",
            f"{opened}.amax(-1)",
            f"({opened} * {w.parameter(k, 1)}).flatten(-2)",
            f"({opened} @ {w.parameter(m, 3)}).flatten(-2)",
            f"torch.einsum('...km,kmj->...kj', {opened}, {w.parameter(k, m, 2)}).flatten(-2)",
            f"{opened}.unbind(-2)[0]",
            f"sum({opened}.unbind(-1))",
            f"{opened}.movedim(-2, 0)[{k - 1}]",
            f"{opened}",
        )
    )


def joining(w: Writer, v: str) -> str | None:
    """Features are cut and joined."""
    n = w.features(v)
    if n < 2:
        return None
    cut, other = w.rng.randint(1, n - 1), w.like(v)
    half = n // 2
    return w.choice(
        (
            f"torch.cat([{v}, {other}], -1)",
            f"torch.cat([{v}[..., {cut}:], {v}[..., :{cut}]], -1)",
            f"torch.cat({v}.split([{cut}, {n - cut}], -1)[::-1], -1)",
            f"{v}[..., :{half}] * {v}[..., {n - half}:].sigmoid()",
            f"torch.cat([{v}[..., :{cut}].relu(), {v}[..., {cut}:]], -1)",
            f"torch.stack([{v}, {other}]).mean(0)",
            f"torch.stack([{v}, {other}]).amax(0)",
            f"torch.stack([{v}, {other}], -2).flatten(-2)",
            f"{v}[..., :{half}]",
            f"{v}[..., {cut}]",
            f"{v}.repeat_interleave(2, -1)",
            f"torch.cat([{v}, {w.parameter(2)}.expand(*{v}.shape[:-1], 2)], -1)",
            f"{v}.tile(2)",
        )
    )


def reduction(w: Writer, v: str) -> str | None:
    """A statistic of features or positions."""
    if len(w.dims[v]) < 2:
        return None
    dim = w.choice((1, -1, -1))
    statistic = w.choice(STATISTICS).format(dim)
    if len(w.dims[v]) == 3 and w.chance(0.3):
        return f"{v}.mean(1)"
    if w.features(v) and w.chance(0.15):
        return f"{v}.quantile(0.5, -1, True) + {v}"
    return f"{v} - {v}.{statistic}" if w.chance(0.7) else f"{v}.{statistic}"


def sorting(w: Writer, v: str) -> list[str] | str | None:
    """Entries are chosen or ordered by their values."""
    n = w.features(v)
    if n < 3:
        return None
    k, other = w.rng.randint(1, n - 1), w.like(v)
    return w.choice(
        (
            f"{v}.sort(-1)[0]",
            f"{v}.topk({k}, -1)[0]",
            f"{v} * ({v} >= {v}.topk({k}, -1)[0][..., -1:])",
            f"{other}.gather(-1, {v}.argsort(-1))",
            f"{v}.msort()",
            f"{other}.gather(-1, {v}.topk({k}, -1)[1])",
            [
                f"t0, t1 = {v}.topk({k}, -1)",
                f"torch.zeros_like({v}).scatter(-1, t1, t0)",
            ],
            f"F.one_hot({v}.argmax(-1), {n}).to({v}.dtype) * {other}",
            f"{w.parameter(n, 4)}[{v}.argmax(-1)]",
            f"F.embedding({v}.argmax(-1), {w.parameter(n, 4)})",
            f"{v}.argsort(-1).argsort(-1).to({v}.dtype) * {other}",
            f"torch.zeros_like({v}).scatter_add(-1, {v}.argsort(-1), {other})",
            f"torch.zeros_like({v}).index_add(-1, {w.constant(n)}.argsort(), {other})",
            f"{other}[..., {w.parameter(n)}.argsort()]",
            f"{v} * ({v} == {v}.amax(-1, True))",
            f"{v}.sort(-1, descending=True)[0].cumsum(-1)",
            f"torch.bucketize({v}, {w.parameter(4)}.sort()[0]).to({v}.dtype) + {v}",
        )
    )


POSITIONS = by_name(
    {
        table_of_positions: 2.5,
        moved_positions: 2.5,
        reshaping: 4,
        joining: 4,
        reduction: 3,
        sorting: 2.5,
    }
)
