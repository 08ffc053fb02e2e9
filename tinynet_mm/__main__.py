"""``python -m tinynet_mm VERB`` is the command ``tinynet VERB``."""

import sys

from .command import main

sys.exit(main())
