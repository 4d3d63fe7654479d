"""The Role of Permutation Invariance in Linear Mode Connectivity: Entezari et al., ICLR 2022."""

PAPER = "Entezari et al. 2022, The Role of Permutation Invariance in Linear Mode Connectivity"
