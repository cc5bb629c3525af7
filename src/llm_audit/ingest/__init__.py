"""Object-created notification to document to index item; the Lambda handler."""
