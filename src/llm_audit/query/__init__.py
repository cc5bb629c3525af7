"""Filters, pages with cursors, statistics."""
