"""Coordinate descent: match one tree of groups at a time and keep the others fixed.

Shared by all matchers that maximize a sum of products of both networks' tensors.
"""
