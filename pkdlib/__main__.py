"""`python -m pkdlib` is `pkd`; in a notebook `%run -m pkdlib inspect clip.mp4` shows the picture, too."""

import sys

from pkdlib.cli import main

sys.exit(main())
