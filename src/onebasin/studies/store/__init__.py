"""Store: what tasks made, in a folder or behind a URL, whole or not at all."""

from onebasin.studies.store.files import DiskFullError, Files
from onebasin.studies.store.interim import Interim
from onebasin.studies.store.records import Failure, Record
from onebasin.studies.store.store import CorruptResultError, Store

__all__ = ["CorruptResultError", "DiskFullError", "Failure", "Files", "Interim", "Record", "Store"]
