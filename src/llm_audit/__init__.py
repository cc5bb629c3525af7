"""Central LLM Audit: every LLM request and response on record, as evidence."""

__version__ = "0.1.0"
