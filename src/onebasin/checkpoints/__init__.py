"""Checkpoints and architectures: reading, atomic writing, and modules from names."""

from onebasin._files import atomic_folder, atomic_path
from onebasin.checkpoints._inputs import InputSpec
from onebasin.checkpoints._lazy import TensorInfo
from onebasin.checkpoints._metadata import (
    ArchitectureRecord,
    merged_arguments,
    read_provenance,
    read_record,
    shared_record,
)
from onebasin.checkpoints._missing_tensors import (
    TiedView,
    completed,
    optional_names,
    tied_names,
    with_unsaved,
)
from onebasin.checkpoints.architectures import (
    BUILTIN_ARCHITECTURES,
    MLP,
    Architecture,
    BuiltinArchitecture,
    build_architecture,
    load_module,
    open_checkpoint_for,
)
from onebasin.checkpoints.checkpoint import Checkpoint, open_checkpoint
from onebasin.checkpoints.save import check_file_writable, check_writable, write_checkpoint
from onebasin.checkpoints.validation import (
    check_all_finite,
    check_finite,
    check_fits,
    check_same_architecture,
    is_same_checkpoint,
    require_matchable,
)

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
