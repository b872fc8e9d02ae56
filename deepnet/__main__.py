"""``python -m deepnet``."""

import sys

from deepnet.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
