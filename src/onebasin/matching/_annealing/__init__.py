"""Walks: sequences of swaps through the permutations of networks, and an energy after each.

A swap exchanges two units of one group of one network. Annealing accepts some of them at
random, exhaustive search accepts all; what differs between networks is how the energy after a
swap is found: by evaluating anew, from the swapped layer up, or compiled.
"""
