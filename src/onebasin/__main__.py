"""`python -m onebasin`, and what the `onebasin` script calls: the way to the command line."""

import sys


def start() -> int:
    """Run the command line; Ctrl-C while it is imported ends it with 130 too."""
    try:
        from onebasin.cli import main
    except KeyboardInterrupt:
        print("onebasin: interrupted", file=sys.stderr)
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(start())
