"""Training of many networks from seeds on one dataset."""

from onebasin.data.dataset import Dataset
from onebasin.data.datasets import load_digits
from onebasin_studies.training.recipe import Recipe
from onebasin_studies.training.train import train
from onebasin_studies.training.trained import EpochRow, TrainedNetwork
from onebasin_studies.training.trainer import GroupProgress

__all__ = [
    "Dataset",
    "EpochRow",
    "GroupProgress",
    "Recipe",
    "TrainedNetwork",
    "load_digits",
    "train",
]
