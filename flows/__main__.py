"""`python -m flows` is `modelyard`."""

import sys

from flows.cli import main

sys.exit(main())
