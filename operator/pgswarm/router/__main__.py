"""`python -m pgswarm.router`."""

from __future__ import annotations

import sys

from pgswarm.router.main import main

sys.exit(main())
