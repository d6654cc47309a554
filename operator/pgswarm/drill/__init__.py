"""Proof from outside: a client that writes while things break, and a ledger of what it was promised."""
