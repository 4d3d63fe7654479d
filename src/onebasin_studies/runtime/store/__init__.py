"""Store: what tasks made, in a folder or behind a URL, whole or not at all."""

from onebasin_studies.runtime.store.files import DiskFullError, Files
from onebasin_studies.runtime.store.interim import Interim
from onebasin_studies.runtime.store.records import Failure, Record
from onebasin_studies.runtime.store.store import CorruptResultError, Store

__all__ = ["CorruptResultError", "DiskFullError", "Failure", "Files", "Interim", "Record", "Store"]
