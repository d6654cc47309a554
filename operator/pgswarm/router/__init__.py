"""The agent beside HAProxy."""
