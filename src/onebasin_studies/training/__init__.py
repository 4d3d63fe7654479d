"""Training: datasets, and networks trained from seeds, many at once."""

from onebasin.data.dataset import Dataset
from onebasin.data.digits import load_digits
from onebasin_studies.training.campaign import GroupProgress
from onebasin_studies.training.history import EpochRow
from onebasin_studies.training.recipe import Recipe
from onebasin_studies.training.train import train
from onebasin_studies.training.trained import TrainedNetwork

__all__ = [
    "Dataset",
    "EpochRow",
    "GroupProgress",
    "Recipe",
    "TrainedNetwork",
    "load_digits",
    "train",
]
