"""`python -m onebasin`, and what the `onebasin` script calls: the way to the command line."""

import os
import sys


def start() -> int:
    """Run the command line; Ctrl-C while it is imported ends it with 130 too.

    Idle threads sleep, unless the environment sets another policy. Idle threads that spin take
    the cores from other programs and from each other.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from onebasin.cli.main import main
    except KeyboardInterrupt:
        print("onebasin: interrupted", file=sys.stderr)
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(start())
