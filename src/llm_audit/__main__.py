"""``python -m llm_audit`` is the ``llm-audit`` command."""

from llm_audit.cli.main import main

if __name__ == "__main__":
    main()
