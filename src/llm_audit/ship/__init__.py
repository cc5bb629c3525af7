"""Journal to record to object, then notify; frees journal segments once their records are stored."""
