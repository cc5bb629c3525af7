"""Names of objects. Pure."""
