"""`python -m pgswarm.sim`."""

import sys

from pgswarm.sim.run import main

sys.exit(main())
