"""The processes that `serve` runs as children: `python -m llm_audit.cli.processes.NAME`, never called by people."""
