"""Assignment: which unit goes where, given the similarity of every two."""
