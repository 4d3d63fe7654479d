"""Show the groups of a timm model, and its operators without a rule.

    python examples/inspect_timm_model.py [NAME]

Needs the extra `vision`. The command `onebasin inspect timm:NAME` prints the same groups.
"""

import sys
from collections import Counter

import onebasin


def main(name: str) -> None:
    """Print the groups of a model, their nesting, and its unsupported operators."""
    architecture = onebasin.build_architecture(f"timm:{name}")
    symmetry = onebasin.infer_symmetry(architecture.module, architecture.example_args)

    print(f"{name}: {len(symmetry.groups)} groups, {symmetry.permutable_fraction:.2%} permutable")
    print(f"10^{symmetry.log10_order:.0f} equivalent copies")
    for group, count in Counter(
        (group.size, len(group.nested_in)) for group in symmetry.groups.values()
    ).most_common():
        size, depth = group
        print(f"{count:3} groups of {size:4} units" + (", nested in heads" if depth else ""))
    largest = max(symmetry.groups, key=lambda group: len(symmetry.tensors_of[group]))
    print(f"{largest!r} lies on {len(symmetry.tensors_of[largest])} tensors")
    for unsupported in symmetry.unsupported_ops:
        print(f"fixed by {unsupported.operator} at {unsupported.location}: {unsupported.reason}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "vit_tiny_patch16_224")
