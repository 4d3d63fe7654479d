"""`onebasin demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onebasin._text import columns
from onebasin.cli.option_groups import with_option_groups
from onebasin.cli.options.run import RunOptions

if TYPE_CHECKING:
    from onebasin_studies.report.demo import DemoResult


@with_option_groups
def demo(
    *,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Output folder.", show_default="demo-out"),
    ] = Path("demo-out"),
    options: RunOptions,
) -> None:
    """Train two small networks on different data, merge them and show the result.

    Network A sees mostly the digits 0 to 4, network B mostly 5 to 9. The merged network makes
    fewer errors than each of them. Takes less than half a minute. Writes report.html, curve.png,
    result.json and the checkpoints a.safetensors, b.safetensors, aligned.safetensors and
    merged.safetensors to DIR.

    \b
    Example:
      onebasin demo --out demo-out
    """
    with options.open_console() as console:
        from onebasin_studies.report.demo import run_demo

        result = run_demo(out, seed=options.seed, progress=options.keywords["progress"])
        console.print(result.to_json(), _text(result, out))


def _text(result: DemoResult, folder: Path) -> str:
    from onebasin_studies.report.demo import FILES

    parts: list[Any] = [
        result.merged.summary(),
        columns(result.barrier_rows()),
        f"wrote {folder / 'report.html'} and {len(FILES)} other files "
        f"({result.seconds['total']:.0f} s)",
    ]
    return "\n\n".join(parts)
