"""Engines: forward and backward passes of many networks on their batches."""

from onebasin_studies.training.engines.backend import Backend, choose_backend
from onebasin_studies.training.engines.engine import Engine, EngineName

__all__ = ["Backend", "Engine", "EngineName", "choose_backend"]
