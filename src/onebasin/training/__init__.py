"""Training: datasets, and networks trained from seeds."""

from onebasin.training.datasets.dataset import Dataset
from onebasin.training.datasets.digits import load_digits
from onebasin.training.train import TrainedNetwork, train

__all__ = ["Dataset", "TrainedNetwork", "load_digits", "train"]
