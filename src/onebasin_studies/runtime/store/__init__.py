"""The store of task results, in a folder or behind a URL, with atomic writes."""

from onebasin_studies.runtime.store.files import DiskFullError, Files
from onebasin_studies.runtime.store.partial_results import PartialResults
from onebasin_studies.runtime.store.records import Failure, Record
from onebasin_studies.runtime.store.store import CorruptResultError, Store

__all__ = [
    "CorruptResultError",
    "DiskFullError",
    "Failure",
    "Files",
    "PartialResults",
    "Record",
    "Store",
]
