"""Decisions. Pure: no clock, no chance, no I/O; time and random ids are arguments."""
