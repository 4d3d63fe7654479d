"""Engines: what carries out the tasks of studies, on this machine or on a cluster."""

from onebasin.studies.engines.engine import Engine, InlineEngine
from onebasin.studies.engines.local import LocalEngine

__all__ = ["Engine", "InlineEngine", "LocalEngine"]
