"""The helpers for applications, in Python and in PHP."""
