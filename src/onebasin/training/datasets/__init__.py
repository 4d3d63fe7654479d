"""Data for training and measuring: named datasets, files, folders, arrays and loaders."""

from onebasin.training.datasets.augmentation import Augmentation
from onebasin.training.datasets.batches import LabelledBatches, batches
from onebasin.training.datasets.catalogue import DATASETS, load_dataset
from onebasin.training.datasets.data import Data
from onebasin.training.datasets.dataset import Dataset
from onebasin.training.datasets.digits import load_digits
from onebasin.training.datasets.examples import Pixels, Tokens
from onebasin.training.datasets.loading import load_data
from onebasin.training.datasets.readers.objects import data_of

__all__ = [
    "DATASETS",
    "Augmentation",
    "Data",
    "Dataset",
    "LabelledBatches",
    "Pixels",
    "Tokens",
    "batches",
    "data_of",
    "load_data",
    "load_dataset",
    "load_digits",
]
