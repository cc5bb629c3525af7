"""The write-ahead journal: frame codec, writer, reader, recovery."""
