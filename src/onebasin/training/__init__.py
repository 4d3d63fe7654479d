"""Training: datasets, and networks trained from seeds."""
