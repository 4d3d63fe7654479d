"""Where architectures come from: one file per source, each turning a name into a recipe."""
