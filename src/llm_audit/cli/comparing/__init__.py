"""Reads journal, ledger, store and index, so that ``llm-audit reconcile`` can compare them."""
