"""One fault a file: ``run(stage)`` makes it happen and yields the rows of what was counted."""
