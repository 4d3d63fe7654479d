"""Datasets: labelled examples by name, split and normalised the same way every time."""

from onebasin.training.datasets.augmentation import Augmentation
from onebasin.training.datasets.batches import LabelledBatches, batches
from onebasin.training.datasets.catalogue import DATASETS, load_dataset
from onebasin.training.datasets.dataset import Dataset
from onebasin.training.datasets.digits import load_digits
from onebasin.training.datasets.examples import Pixels, Tokens

__all__ = [
    "DATASETS",
    "Augmentation",
    "Dataset",
    "LabelledBatches",
    "Pixels",
    "Tokens",
    "batches",
    "load_dataset",
    "load_digits",
]
