"""Datasets: labelled examples by name, split and normalised the same way every time."""
