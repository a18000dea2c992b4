"""``python -m lanflow`` is the command ``lanflow``."""

import sys

from lanflow.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
