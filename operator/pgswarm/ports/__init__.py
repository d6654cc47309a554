"""The only code that talks to Docker, to agents and to files of documents; each behind a narrow Protocol."""
