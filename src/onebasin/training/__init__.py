"""Training: datasets, and networks trained from seeds, many at once."""

from onebasin.training.campaign import GroupProgress
from onebasin.training.datasets.dataset import Dataset
from onebasin.training.datasets.digits import load_digits
from onebasin.training.history import EpochRow
from onebasin.training.recipe import Recipe
from onebasin.training.train import train
from onebasin.training.trained import TrainedNetwork

__all__ = [
    "Dataset",
    "EpochRow",
    "GroupProgress",
    "Recipe",
    "TrainedNetwork",
    "load_digits",
    "train",
]
