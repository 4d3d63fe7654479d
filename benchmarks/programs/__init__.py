"""Random modules that accept inputs of several shapes, and the check of their symmetries."""
