"""Metrics derived from what the processes say of themselves; never on the data path, never with content in them."""
