"""What holds for every test, and what several rooms' tests share."""

import pytest
from hypothesis import HealthCheck, settings

from local_aws import running_aws

# Tests run in parallel on whatever machine there is: how long an example takes says nothing about our code.
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")


@pytest.fixture(scope="session")
def local_aws(tmp_path_factory):
    """One local AWS for all tests of a worker: each makes what it needs under a name that no other has."""
    with running_aws(tmp_path_factory.mktemp("aws"), LAMBDA_ASYNC_RETRY_BASE_SECONDS="0.1") as running:
        yield running
