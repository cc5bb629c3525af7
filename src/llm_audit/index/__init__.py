"""Item key schema; DynamoDB and SQLite behind one protocol."""
