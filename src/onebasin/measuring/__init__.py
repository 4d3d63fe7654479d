"""Measuring: evaluation, curves between two networks and their barriers."""
