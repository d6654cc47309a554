"""The operator: sources wake, observe looks, plan decides, act does."""
