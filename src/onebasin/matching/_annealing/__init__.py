"""States of simulated annealing: random swaps and the energy after each.

A swap exchanges two units of one group of one network. Annealing accepts swaps at random,
exhaustive search accepts all. The energy is evaluated in full, from the swapped layer up, or by
compiled kernels.
"""
