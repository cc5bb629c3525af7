"""The audit record: schema, canonical JSON, digests, identity rules, redaction. Pure: no I/O."""
