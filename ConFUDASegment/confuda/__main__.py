"""``python -m confuda`` is the same as the command ``confuda``."""

import sys

from confuda.app.cli import main

sys.exit(main())
