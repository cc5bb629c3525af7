"""The same calls through us and through what people would pick instead, in one run on one machine (`make bench`)."""
