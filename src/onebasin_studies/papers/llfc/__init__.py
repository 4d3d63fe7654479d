"""Going Beyond Linear Mode Connectivity: Zhou et al., NeurIPS 2023."""

PAPER = "Zhou et al. 2023, Going Beyond Linear Mode Connectivity"
