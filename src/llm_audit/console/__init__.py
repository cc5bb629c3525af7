"""The web pages for people. Read-only, but for its users' file and the access log that says who looked."""
