"""The graph of a traced model: features of networks, and runs with given parameters."""

from onebasin.graph.batches import run_model
from onebasin.graph.binding import FunctionalModel
from onebasin.graph.features import Features
from onebasin.graph.graph import FeatureNode, Graph

__all__ = ["FeatureNode", "Features", "FunctionalModel", "Graph", "run_model"]
