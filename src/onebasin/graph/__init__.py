"""Forward: a model run on data with the parameters of a mapping, and what is seen inside.

Owns how data is read and how a model is called, and the features of the units of every
group, found at the nodes of the traced graph.
"""
