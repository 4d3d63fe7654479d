"""Tasks that take no time and log their calls, and studies of them; without torch."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onebasin_studies import Result, Study, Table, Task, Verdict, task

SECONDS = 0.2
NUM = 8


def leave_trace(folder: str, name: object) -> None:
    """Note that a task has begun, and in which process; one short line is written at once."""
    with open(Path(folder, "trace"), "a") as file:
        file.write(f"{name} {os.getpid()}\n")


def trace_of(folder: Path) -> list[str]:
    """The tasks that began, in order."""
    path = folder / "trace"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def processes_of(folder: Path) -> set[int]:
    return {int(line.split()[1]) for line in (folder / "trace").read_text().splitlines()}


def give(*, folder: str, value: int, seconds: float = 0.0) -> Result:
    leave_trace(folder, f"give-{value}")
    time.sleep(seconds)
    return Result([{"value": value}])


def add(*, folder: str, parts: list[Result]) -> Result:
    total = sum(row["value"] for part in parts for row in part.rows)
    leave_trace(folder, f"add-{total}")
    return Result([{"value": total}])


def fill(*, folder: str, value: int) -> Result:
    """Make a tensor; torch is imported here, as no other toy needs it."""
    import torch

    leave_trace(folder, f"fill-{value}")
    return Result(tensors={"filled": torch.full((3,), value)})


def sum_of(*, folder: str, filled: Result, number: int) -> Result:
    total = int(filled.tensors["filled"].sum())
    leave_trace(folder, f"sum-{total}-{number}")
    return Result([{"value": total}])


@task(map_over="values")
def square(*, folder: str, values: list[int]) -> list[Result]:
    leave_trace(folder, "square-" + "-".join(map(str, values)))
    if 13 in values:
        raise RuntimeError("13 is bad luck")
    return [Result([{"value": value**2}]) for value in values]


@task(map_over="values", resume_folder="resume_folder")
def climb(
    *, folder: str, values: list[int], stop: str, resume_folder: str | None = None
) -> list[Result]:
    """Take four steps; where `stop` says how, be stopped after the second, but only once."""
    kept = Path(resume_folder or folder, "steps")
    done = len(kept.read_text()) if kept.exists() else 0
    for step in range(done, 4):
        leave_trace(folder, f"step-{step}-of-" + "-".join(map(str, values)))
        kept.write_text("x" * (step + 1))
        if step == 1 and trace_of(Path(folder)).count("stop") == 0 and stop:
            leave_trace(folder, "stop")
            if stop == "interrupt":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGKILL)
    return [Result([{"value": value}]) for value in values]


def fail(*, folder: str) -> Result:
    leave_trace(folder, "fail")
    raise ZeroDivisionError("a task\nthat fails")


def die_once(*, folder: str, value: int) -> Result:
    leave_trace(folder, f"die-{value}")
    if trace_of(Path(folder)).count(f"die-{value}") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return Result([{"value": value}])


def die_always(*, folder: str) -> Result:
    leave_trace(folder, "die")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def fill_disk(*, folder: str) -> Result:
    with open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")
    return Result()


def chatter(*, text: str) -> Result:
    print(text)
    os.write(1, text.encode())
    return Result([{"text": text}])


def report_torch() -> Result:
    return Result([{"value": int("torch" in sys.modules)}])


def meet(*, folder: str, value: int, other: int) -> Result:
    """Wait for another task, which can come only if both run at the same time."""
    leave_trace(folder, f"meet-{value}")
    end = time.monotonic() + 60
    while f"meet-{other}" not in trace_of(Path(folder)):
        if time.monotonic() > end:
            raise TimeoutError(f"{other} never came")
        time.sleep(0.01)
    return Result([{"value": value}])


def some_tasks(folder: object) -> list[Task]:
    """Eight tasks of a fifth of a second, and three that need their results."""
    parts = [Task.of(give, folder=str(folder), value=v, seconds=SECONDS) for v in range(NUM)]
    return [*parts, *(Task.of(add, folder=str(folder), parts=parts[:n]) for n in (2, 4, NUM))]


@dataclass(frozen=True)
class Config:
    """Says nothing; a study needs one."""

    number: Any = 0


def study(name: str, *tasks: Task, number: Any = 0) -> Study:
    return Study(
        name=name,
        paper="None",
        item="None",
        claim="Tasks are run.",
        scales={"smoke": Config(number), "small": Config(number)},
        tasks=lambda config: list(tasks),
        verdict=lambda rows: Verdict.of(bool(rows), f"{len(rows)} rows."),
        figures=lambda rows: [],
        table=lambda rows: Table(("rows",), [(len(rows),)]),
    )
