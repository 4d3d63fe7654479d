"""The list of all transformers entries, in the order in which the coverage table shows them."""

from __future__ import annotations

from .entry import Entry
from .transformers_combined import COMBINED
from .transformers_decoders import DECODERS
from .transformers_encoders import ENCODERS
from .transformers_experts import MIXTURES
from .transformers_models import architecture_entry
from .transformers_recurrent import RECURRENT
from .transformers_senses import SENSES
from .transformers_seq2seq import SEQ2SEQ
from .transformers_vision import VISION

ARCHITECTURES = [
    *ENCODERS, *DECODERS, *MIXTURES, *RECURRENT, *SEQ2SEQ, *VISION, *SENSES, *COMBINED,
]  # fmt: skip


def transformers_entries() -> list[Entry]:
    """One entry per architecture of the tables, none of which imports transformers yet."""
    return [architecture_entry(architecture) for architecture in ARCHITECTURES]
