"""Sources of architectures: each module turns a name into a recipe."""
