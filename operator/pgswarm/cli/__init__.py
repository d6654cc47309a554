"""The command line: one file per family of verbs."""


def main() -> None:
    """Entry point of `pgswarm`."""
    raise SystemExit("not yet")
