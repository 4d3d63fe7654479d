"""The graph of a traced model: runs on data with the parameters of a mapping, and features."""

from onebasin.graph.batches import run_model
from onebasin.graph.binding import FunctionalModel
from onebasin.graph.features import Features
from onebasin.graph.graph import FeatureNode, Graph

__all__ = ["FeatureNode", "Features", "FunctionalModel", "Graph", "run_model"]
