"""The frame codec: the journal on disk, byte for byte. Pure."""
