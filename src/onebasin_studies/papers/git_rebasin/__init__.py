"""Git Re-Basin: Ainsworth, Hayase and Srinivasa, ICLR 2023."""

PAPER = "Ainsworth et al. 2023, Git Re-Basin"
