"""`python -m onebasin`: the command line, where the `onebasin` script is not on the path."""

import sys

from onebasin.cli import main

if __name__ == "__main__":
    sys.exit(main())
