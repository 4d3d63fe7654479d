"""Infer the symmetries of random modules, test them without verification, and write the page.

A program reads and writes through views, sorts, computes weights from weights, uses tables of
positions, and rearranges dimensions. Its symmetry is inferred at one input shape, and tested
in float64 at that shape and at two others.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from programs.check import BUNDLE, OPERATORS, check, program_of, shrunk
from publishing import add_folder, machine, publish


def main(argv: Sequence[str] | None = None) -> int:
    """Check all programs, write the page, and return 1 if any group is wrong."""
    options = _parser().parse_args(argv)
    began = time.perf_counter()
    seeds = range(options.seed, options.seed + options.programs)
    rows: list[dict[str, Any]] = []
    for part in _results(
        [seeds[i : i + BUNDLE] for i in range(0, len(seeds), BUNDLE)], options.jobs
    ):
        rows += part
        print(_progress(rows, len(seeds)), file=sys.stderr, flush=True)
    faults = [row for row in rows if row["fault"]]
    for row in faults:
        row["program"] = _smallest(row["seed"], row["fault"])
    environment = {
        "command": f"python benchmarks/random_programs.py --programs {options.programs} "
        f"--seed {options.seed} --jobs {options.jobs}",
        "seconds": f"{time.perf_counter() - began:.0f}",
        **machine("onebasin", "torch"),
    }
    document = {"environment": environment, "rows": rows}
    publish("random_programs", page(rows, environment), document, options.out)
    return 1 if faults else 0


def _results(parts: list[range], jobs: int) -> Iterator[list[dict[str, Any]]]:
    if jobs == 1:
        yield from map(check_seeds, parts)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(check_seeds, parts)


def check_seeds(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return one row for each seed."""
    warnings.simplefilter("ignore")
    programs = [program_of(seed) for seed in seeds]
    # Each fifth bundle is traced program by program, the others as one module.
    together = seeds[0] // BUNDLE % 5 != 0
    outcomes = check(programs) if together else [check([program])[0] for program in programs]
    return [
        {
            "seed": seed,
            "operators": sorted(set(program.operators)),
            "groups": outcome.groups,
            "refused": outcome.refused,
            "error": outcome.error,
            "fault": outcome.fault,
        }
        for seed, program, outcome in zip(seeds, programs, outcomes, strict=True)
    ]


def _smallest(seed: int, fault: str) -> str:
    """Return the text of a small program with the same kind of fault."""
    kind = fault.split(":")[0]
    return str(shrunk(program_of(seed), lambda p: check([p])[0].fault.split(":")[0] == kind))


def _progress(rows: Sequence[dict[str, Any]], total: int) -> str:
    faults = [row["seed"] for row in rows if row["fault"]]
    return f"{len(rows)}/{total} programs, faulty seeds: {faults or 'none'}"


def page(rows: Sequence[dict[str, Any]], environment: dict[str, str]) -> str:
    """Return the page of the documentation."""
    faults = [row for row in rows if row["fault"]]
    used = Counter(operator for row in rows for operator in row["operators"])
    lines = [
        "# Random programs",
        "",
        "Written by `python benchmarks/random_programs.py`. Every program is a random module that",
        "accepts several batch sizes and sequence lengths or image sizes. Its symmetry is inferred",
        "at one input shape, without verification. Random permutations of the symmetry, and one",
        "swap of two units for each group, are then applied to the parameters. The outputs before",
        "and after are compared in float64, at the inferred shape and at two others.",
        "",
        "A program is *refused* if inference raises an `OneBasinError`. It is a *fault* if",
        "inference fails otherwise, or if an output changes. The error is the largest relative",
        "change of an output.",
        "",
        "| programs | with groups | groups | refused | faults | largest error |",
        "|--:|--:|--:|--:|--:|--:|",
        f"| {len(rows)} | {sum(row['groups'] > 0 for row in rows)} "
        f"| {sum(row['groups'] for row in rows)} | {sum(row['refused'] for row in rows)} "
        f"| {len(faults)} | {max(row['error'] for row in rows):.1e} |",
        "",
        "| operator | programs that use it |",
        "|---|--:|",
        *(f"| {name} | {used[name]} |" for name in OPERATORS),
    ]
    for row in faults:
        lines += ["", f"Seed {row['seed']}, {row['fault']}:", "", "```text"]
        lines += [row.get("program", ""), "```"]
    lines += ["", *(f"- {key}: {value}" for key, value in environment.items()), ""]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=3000, help="number of programs")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first program")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    add_folder(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
