"""What holds for every test, and what several rooms' tests share."""

import itertools

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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Let the long tests begin first: one that begins last would leave the other workers with nothing to do.

    Long are those with a time limit of their own. Each worker begins with an even, contiguous share of the list
    (xdist's ``worksteal``), and later takes from others' ends; so the long ones are dealt out to the shares' beginnings.
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    longest = [item for item in items if item.get_closest_marker("timeout")]
    others = iter([item for item in items if not item.get_closest_marker("timeout")])
    count, dealt = len(items), []
    for worker in range(workers):
        size = (count - len(dealt)) // (workers - worker)
        begins = longest[worker::workers][:size]
        dealt += [*begins, *itertools.islice(others, size - len(begins))]
    missed = set(map(id, items)) - set(map(id, dealt))
    items[:] = [*dealt, *(item for item in items if id(item) in missed)]
