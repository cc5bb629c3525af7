"""The composition root: one file per command; only here are rooms wired together."""
