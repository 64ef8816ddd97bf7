"""`python -m grmrewards`: the command line."""

import sys

from grmrewards.cli import main

if __name__ == "__main__":
    sys.exit(main())
