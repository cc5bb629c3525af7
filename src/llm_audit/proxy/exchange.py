"""One exchange, from first byte to outcome, with no socket in it. Pure."""
