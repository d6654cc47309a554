"""The agent beside PostgreSQL."""
