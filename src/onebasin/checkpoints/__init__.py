"""Checkpoints and architectures: reading, atomic writing, and modules from names."""

from onebasin._files import atomic_folder, atomic_path
from onebasin.checkpoints.architectures import (
    Architecture,
    build_architecture,
    load_module,
    open_checkpoint_for,
)
from onebasin.checkpoints.builtin import BUILTIN_ARCHITECTURES, MLP, BuiltinArchitecture
from onebasin.checkpoints.inputs import InputSpec
from onebasin.checkpoints.optional import completed, optional_names, with_unsaved
from onebasin.checkpoints.outputs import check_file_writable, check_writable
from onebasin.checkpoints.provenance import read_provenance
from onebasin.checkpoints.reading import Checkpoint, open_checkpoint
from onebasin.checkpoints.records import (
    ArchitectureRecord,
    merged_arguments,
    read_record,
    shared_record,
)
from onebasin.checkpoints.tensor_info import TensorInfo
from onebasin.checkpoints.ties import TiedView, tied_names
from onebasin.checkpoints.validation import (
    check_all_finite,
    check_finite,
    check_fits,
    check_same_architecture,
    is_same_checkpoint,
    require_matchable,
)
from onebasin.checkpoints.writing import write_checkpoint

__all__ = [
    "BUILTIN_ARCHITECTURES",
    "MLP",
    "Architecture",
    "ArchitectureRecord",
    "BuiltinArchitecture",
    "Checkpoint",
    "InputSpec",
    "TensorInfo",
    "TiedView",
    "atomic_folder",
    "atomic_path",
    "build_architecture",
    "check_all_finite",
    "check_file_writable",
    "check_finite",
    "check_fits",
    "check_same_architecture",
    "check_writable",
    "completed",
    "is_same_checkpoint",
    "load_module",
    "merged_arguments",
    "open_checkpoint",
    "open_checkpoint_for",
    "optional_names",
    "read_provenance",
    "read_record",
    "require_matchable",
    "shared_record",
    "tied_names",
    "with_unsaved",
    "write_checkpoint",
]
