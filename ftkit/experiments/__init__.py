"""Runs, comparisons, and the records that both are drawn from."""
