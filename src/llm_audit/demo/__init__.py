"""A small OpenAI-compatible model server and sample traffic, so that everything runs without a GPU."""
