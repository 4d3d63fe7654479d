"""Engines: ways to run many networks forward and backward on their batches."""

from onebasin_studies.training.engines.choice import Choice, choose
from onebasin_studies.training.engines.engine import Engine, EngineName

__all__ = ["Choice", "Engine", "EngineName", "choose"]
