"""Networks of a size between one and all of their sources."""
