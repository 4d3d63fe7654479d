"""Readers of data sources, one for each kind."""
