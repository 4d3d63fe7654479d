"""Moments of features: what one pass over data tells a matcher, whatever the number of examples."""
