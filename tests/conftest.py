"""What holds for every test."""

from hypothesis import HealthCheck, settings

# Tests run in parallel on whatever machine there is: how long an example takes says nothing about our code.
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")
