"""Object keys and objects, in S3 or a folder, through one interface."""
