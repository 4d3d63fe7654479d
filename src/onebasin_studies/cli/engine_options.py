"""Options of the engine that runs the tasks of studies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from onebasin.errors import OneBasinError

if TYPE_CHECKING:
    from onebasin_studies.runtime.engines import Engine


@dataclass(frozen=True)
class EngineOptions:
    """Where tasks run, and how many at the same time."""

    engine: Annotated[
        str,
        typer.Option(metavar="ENGINE", help="local (processes on this machine) or ray."),
    ] = "local"
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Address of the Ray cluster, or auto; default: start Ray on this machine.",
            show_default=False,
        ),
    ] = None
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Number of parallel tasks; default: one per core.", show_default=False
        ),
    ] = None

    def build(self) -> Engine:
        """Return the engine.

        Raises:
            OneBasinError: the engine is unknown, or an option does not apply to it.
        """
        from onebasin_studies.runtime.engines import LocalEngine

        if self.engine not in ("local", "ray"):
            raise OneBasinError(f"study run: unknown engine {self.engine!r}; known are local, ray")
        if self.engine == "ray":
            from onebasin_studies.runtime.engines.ray import RayEngine

            return RayEngine(self.address, jobs=self.jobs)
        if self.address is not None:
            raise OneBasinError("study run: --address requires --engine ray")
        return LocalEngine(self.jobs)
