"""``llm-audit verify``: the store on one side, ``integrity`` on the other."""
