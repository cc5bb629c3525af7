import pytest

from llm_audit.console.pipeline_view import pipeline_view
from llm_audit.query.pipeline import Pipeline, Quarantined

NOW = 1_795_521_600_000
LIMIT = 1000
SUPERVISOR = {
    "listen": "0.0.0.0:8000",
    "upstream": "http://m:1",
    "children": {"proxy-1": {"pid": 7, "restarts": 0}},
}
SHIPPER = {
    "state": "shipping",
    "updatedAt": NOW - 500,
    "stored": 12,
    "backlogBytes": 100,
    "backlogAgeMs": 0,
    "lagMs": 20,
    "untold": 0,
    "writers": {
        "w-1": {
            "journalBytes": 100,
            "openExchanges": 2,
            "unshipped": 0,
            "boot": 3,
            "sequence": 9,
            "error": None,
        }
    },
}


def view(supervisor=SUPERVISOR, quarantined=(), **shipper):
    said = None if shipper.get("shipper", 1) is None else {**SHIPPER, **shipper}
    return pipeline_view(Pipeline(supervisor, said, tuple(quarantined), len(quarantined)), LIMIT, NOW)


def test_a_pipeline_that_is_well_has_no_trouble_and_names_its_writers():
    found = view()
    assert found.troubles == 0
    assert all(sign.is_ok for sign in found.signs)
    (writer,) = found.writers
    assert (writer.name, writer.open_calls, writer.stored_to) == ("w-1", 2, "boot 3, sequence 9")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("Serving", {"supervisor": None}),
        ("Shipper", {"updatedAt": NOW - 60_000}),
        ("Journal", {"backlogBytes": 900}),
        ("Shipping lag", {"backlogAgeMs": 120_000}),
        ("Store", {"storeError": {"message": "gone", "times": 3, "since": 1}}),
        ("Ledger", {"ledgerError": "disk full"}),
        ("Refused records", {"refused": 2}),
        ("Index", {"indexError": "damaged"}),
        ("Quarantine", {"quarantined": [Quarantined("w-1-1-1", "a flipped bit")]}),
        ("Chain", {"brokenLinks": 1}),
    ],
)
def test_each_trouble_is_named_with_what_to_do(name, changes):
    found = view(**changes)
    (sign,) = [sign for sign in found.signs if sign.is_ok is False]
    assert sign.name == name
    assert sign.advice


def test_processes_that_were_started_again_are_told_and_no_trouble():
    found = view(supervisor={**SUPERVISOR, "children": {"console": {"pid": 1, "restarts": 4}}})
    assert found.troubles == 0
    assert found.signs[0].is_ok is None


@pytest.mark.parametrize(
    "strange", [{"writers": 5}, {"writers": {"w": 1}}, {"lagMs": "x"}, {"backlogBytes": None}]
)
def test_a_status_of_another_version_is_read_as_far_as_it_goes(strange):
    assert view(**strange).signs


def test_of_a_pipeline_that_never_ran_little_is_known():
    found = pipeline_view(Pipeline(None, None, (), 0), LIMIT, NOW)
    assert [sign.is_ok for sign in found.signs] == [False, None]
