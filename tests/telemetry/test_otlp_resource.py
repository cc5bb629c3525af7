import pytest

from llm_audit import __version__
from llm_audit.telemetry.otlp_resource import resource_of


@pytest.fixture
def resource(monkeypatch):
    def given(**environ):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return resource_of(environ, service="llm-audit", node="gpu-1").attributes

    return given


def test_the_resource_names_service_version_and_machine(resource):
    found = resource()
    assert found["service.name"] == "llm-audit"
    assert found["service.version"] == __version__
    assert found["service.instance.id"] == found["host.name"] == "gpu-1"


def test_the_environment_names_the_service_where_it_does(resource):
    assert resource(OTEL_SERVICE_NAME="ours")["service.name"] == "ours"


def test_attributes_of_the_environment_are_kept(resource):
    found = resource(OTEL_RESOURCE_ATTRIBUTES="service.name=theirs,service.instance.id=i-1,team=ml")
    assert (found["service.name"], found["service.instance.id"], found["team"]) == ("theirs", "i-1", "ml")
