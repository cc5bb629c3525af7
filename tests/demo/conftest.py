import pytest

from demo_process import demo_process


@pytest.fixture(scope="session")
def server_url():
    with demo_process() as url:
        yield url
