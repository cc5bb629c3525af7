"""Real faults against the real processes, and a count that must match: ``python -m faults``.

Each fault is a module in ``faults/cases`` with one function, ``run(stage)``, that makes the fault happen and yields
what was counted (``faults.row``). What was promised is held against a ledger that the clients kept themselves, byte
by byte (``faults.clients``), and against the stored objects, read as plain JSON (``faults.objects``): nothing of the
check is the product's own code.
"""
