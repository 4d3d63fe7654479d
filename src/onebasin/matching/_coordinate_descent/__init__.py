"""Coordinate descent: one tree of groups after the other, all others held.

What the matchers that maximize a sum of products of both networks' tensors stand on: the
pair, how a tree of groups sees a tensor, the similarities and their correction, and starts.
"""
