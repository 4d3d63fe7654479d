"""Data for training and evaluation: named datasets, files, folders, arrays and loaders."""

from onebasin.data.augmentation import Augmentation
from onebasin.data.batches import LabeledBatches, batches
from onebasin.data.catalogue import DATASETS, load_dataset
from onebasin.data.data import Data
from onebasin.data.dataset import Dataset
from onebasin.data.digits import load_digits
from onebasin.data.examples import Pixels, Tokens
from onebasin.data.loading import load_data
from onebasin.data.readers.objects import data_of

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
