"""From raw bytes to meaning: event streams, OpenAI and Anthropic bodies. Pure: no I/O."""
