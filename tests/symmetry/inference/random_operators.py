"""Vocabulary of random programs: writers of program lines for every kind of operator.

An entry takes the writer and the name of an operand. It returns an expression with valid
shapes, or None if the operand is unsuitable.
"""

from tests.symmetry.inference import random_arithmetic as arithmetic
from tests.symmetry.inference import random_rearrangements as rearrangements
from tests.symmetry.inference.random_programs import Operator

OPERATORS: dict[str, tuple[float, Operator]] = {
    "unary": (6, arithmetic.unary),
    "binary": (6, arithmetic.binary),
    "outer": (1, arithmetic.outer_sum),
    "linear": (6, arithmetic.linear),
    "matmul": (3, arithmetic.matmul),
    "contraction": (4, arithmetic.contraction),
    "bilinear": (1, arithmetic.bilinear),
    "convolution": (4, arithmetic.convolution),
    "pooling": (1.5, arithmetic.pooling),
    "concatenation": (2, rearrangements.concatenation),
    "stacking": (1, rearrangements.stacking),
    "splitting": (3, rearrangements.splitting),
    "reshaping": (6, rearrangements.reshaping),
    "permuting": (4, rearrangements.permuting),
    "softmax": (1.5, arithmetic.softmaxing),
    "reduction": (2, arithmetic.reduction),
    "spread": (1, arithmetic.spread),
    "layer_norm": (1.5, arithmetic.layer_norm),
    "group_norm": (1.5, arithmetic.group_norm),
    "batch_norm": (1, arithmetic.batch_norm),
    "gathering": (1, rearrangements.gathering),
    "scattering": (1, rearrangements.scattering),
    "slicing": (2, rearrangements.slicing),
    "shifting": (0.7, rearrangements.shifting),
    "neighbors": (0.7, rearrangements.neighbors),
    "repeating": (2, rearrangements.repeating),
    "padding": (1, rearrangements.padding),
    "ordering": (0.8, rearrangements.ordering),
    "gating": (1, rearrangements.gating),
    "attention": (1.5, arithmetic.attention),
    "heads": (2, arithmetic.heads),
    "embedding": (0.7, rearrangements.embedding),
    "distances": (0.6, arithmetic.distances),
    "constant": (1, rearrangements.constant),
    "shuffling": (1.5, rearrangements.shuffling),
    "windowing": (0.6, rearrangements.windowing),
}
"""Frequency and writer of every operator, by name."""
