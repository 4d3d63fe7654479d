"""Statistics of features and layer inputs, accumulated in one pass over the data."""
