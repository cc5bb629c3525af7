"""Index items: keys and attributes. Pure."""
