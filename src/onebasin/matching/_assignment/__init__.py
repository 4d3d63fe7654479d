"""Linear assignment: exact, greedy and nested solvers."""
