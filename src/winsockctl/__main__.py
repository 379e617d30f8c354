"""``python -m winsockctl``."""

import sys

from winsockctl.cli import main

sys.exit(main())
