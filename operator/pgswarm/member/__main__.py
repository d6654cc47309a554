"""`python -m pgswarm.member` is `pgswarm member`."""

from __future__ import annotations

import sys

from pgswarm.member.main import main

sys.exit(main())
