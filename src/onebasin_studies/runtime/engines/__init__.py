"""Engines that run the tasks of studies on this machine or on a cluster."""

from onebasin_studies.runtime.engines.engine import Engine, InlineEngine
from onebasin_studies.runtime.engines.local import LocalEngine

__all__ = ["Engine", "InlineEngine", "LocalEngine"]
