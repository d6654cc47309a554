"""Random and told histories of a tiny cluster that is steered by the real plan."""
