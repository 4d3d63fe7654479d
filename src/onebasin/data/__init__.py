"""Data for training and evaluation: named datasets, files, folders, arrays and loaders."""

from onebasin.data._readers.objects import data_of
from onebasin.data.augmentation import Augmentation
from onebasin.data.batches import LabeledBatches, batches
from onebasin.data.data import Data
from onebasin.data.dataset import Dataset
from onebasin.data.datasets import DATASETS, load_dataset, load_digits
from onebasin.data.examples import Pixels, Tokens
from onebasin.data.loading import load_data

__all__ = [
    "DATASETS",
    "Augmentation",
    "Data",
    "Dataset",
    "LabeledBatches",
    "Pixels",
    "Tokens",
    "batches",
    "data_of",
    "load_data",
    "load_dataset",
    "load_digits",
]
