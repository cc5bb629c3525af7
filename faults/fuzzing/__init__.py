"""Coverage-guided fuzzing of what reads strangers' bytes: ``make fuzz``.

``targets`` says what must hold for any bytes at all; atheris (libFuzzer, in ``child``) looks for bytes for which it does
not. Inputs that reach something new are kept in ``corpus/``, inputs that once broke something in ``crashes/``; ``make test``
runs both through the targets on every machine, with atheris or without.
"""
