"""The commands demo, train and study."""
