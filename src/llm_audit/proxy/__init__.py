"""The data path: server protocol, exchange state machine, upstream pool, gate, launcher."""
