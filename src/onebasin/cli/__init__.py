"""Command line: parse, call, print."""

from onebasin.cli.main import main

__all__ = ["main"]
