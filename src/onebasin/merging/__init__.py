"""Merging: one network made of several."""
