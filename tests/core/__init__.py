"""Rules of the pure core, one sentence a test."""
