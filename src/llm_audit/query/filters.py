"""Filters are data. Pure."""
