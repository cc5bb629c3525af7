"""Proof for others: that nothing is missing, and that nothing was changed."""
