"""Worlds in which the real decisions are tried without real parts. `model`: every state of a small one."""
