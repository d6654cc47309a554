"""pgswarm keeps PostgreSQL highly available on plain Docker Swarm.

The map of the house is in `operator/README.md`; the argument for its safety is in `docs/protocol.md`.
"""

__version__ = "0.1.0"
