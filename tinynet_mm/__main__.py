"""``python -m tinynet_mm VERB`` is the command ``tinynet VERB``."""

from .command import script

script()
