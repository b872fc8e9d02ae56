"""``python -m deepnet``."""

import sys

from deepnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
