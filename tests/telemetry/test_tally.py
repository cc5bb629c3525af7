from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from calls import record
from llm_audit.record.schema import ErrorInfo, ModelNames, Usage
from llm_audit.telemetry.call import call_of
from llm_audit.telemetry.metrics import CALL_METRICS, DURATION, FIRST_TOKEN, LABELS, PER_TOKEN, TOKENS
from llm_audit.telemetry.tally import OTHER, CallTally


def call(**changes):
    return call_of(record(**changes), with_span=False)


def values(tally, label, metric=DURATION):
    return [dict(labels).get(label, "") for labels in tally.distributions()[metric.name]]


@given(st.lists(st.integers(0, 200_000), max_size=50))
def test_every_duration_is_counted_once_in_the_first_bucket_that_takes_it(latencies):
    tally = CallTally()
    tally.add([call(latency_ms=latency) for latency in latencies])
    found = list(tally.distributions()[DURATION.name].values())
    if not latencies:
        assert found == []
        return
    (distribution,) = found
    at_most = [sum(latency <= bound * 1000 for latency in latencies) for bound in DURATION.bounds]
    assert list(accumulate(distribution.counts)) == [*at_most, len(latencies)]
    assert round(distribution.total * 1000) == sum(latencies)


def test_a_value_on_a_boundary_belongs_below_it():
    tally = CallTally()
    tally.add([call(latency_ms=10)])
    ((distribution,),) = [list(tally.distributions()[DURATION.name].values())]
    assert distribution.counts[0] == 1


def test_tokens_are_counted_by_their_type_and_streams_by_their_pace():
    tally = CallTally()
    tally.add([call(stream=True, usage=Usage(3, 11, 14), latency_ms=1040, time_to_first_chunk_ms=40)])
    found = tally.distributions()
    tokens = {dict(labels)["gen_ai.token.type"]: each.total for labels, each in found[TOKENS.name].items()}
    assert tokens == {"input": 3, "output": 11}
    assert [each.total for each in found[FIRST_TOKEN.name].values()] == [0.04]
    assert [round(each.total, 6) for each in found[PER_TOKEN.name].values()] == [0.1]


def test_a_call_without_usage_or_stream_has_a_duration_alone():
    tally = CallTally()
    tally.add([call(usage=Usage())])
    assert [len(tally.distributions()[metric.name]) for metric in CALL_METRICS] == [1, 0, 0, 0]


def test_calls_of_the_same_labels_are_one_series():
    tally = CallTally()
    tally.add([call(request_id=str(number)) for number in range(5)])
    tally.add([call()])
    ((labels, distribution),) = tally.distributions()[DURATION.name].items()
    assert distribution.count == 6
    assert [name for name, _ in labels] == [name for name in LABELS if name != "error.type"]


def test_names_beyond_the_limit_count_as_other_and_none_of_their_calls_is_lost():
    tally = CallTally(most_values=3)
    tally.add([call(source=f"s{number}") for number in range(10)])
    tally.add([call(model=ModelNames(f"m{number}", f"r{number}"), source="s0") for number in range(10)])
    tally.add([call(error=ErrorInfo(f"E{number}", ""), source="s0") for number in range(10)])
    for label, most in (
        ("llm_audit.source", 4),
        ("gen_ai.request.model", 5),
        ("gen_ai.response.model", 5),
        ("error.type", 5),
    ):
        found = set(values(tally, label))
        assert OTHER in found
        assert len(found) <= most
    assert sum(each.count for each in tally.distributions()[DURATION.name].values()) == 30


def test_a_name_that_is_known_stays_known_once_the_limit_is_reached():
    tally = CallTally(most_values=1)
    tally.add([call(source="first"), call(source="second"), call(source="first")])
    found = {
        dict(labels)["llm_audit.source"]: each.count
        for labels, each in tally.distributions()[DURATION.name].items()
    }
    assert found == {"first": 2, OTHER: 1}


def test_combinations_are_limited_too():
    tally = CallTally(most_values=100, most_series=10)
    tally.add([call(source=f"s{number % 10}", model=ModelNames(f"m{number // 10}")) for number in range(100)])
    series = tally.distributions()[DURATION.name]
    assert len(series) == 11
    assert sum(each.count for each in series.values()) == 100


def test_values_are_cut_to_256_characters():
    tally = CallTally()
    tally.add([call(model=ModelNames("m" * 1000, "r" * 1000), source="s" * 1000)])
    assert values(tally, "gen_ai.request.model") == ["m" * 256]
    assert values(tally, "llm_audit.source") == ["s" * 256]


def test_a_flood_of_names_fills_no_memory():
    tally = CallTally(most_values=3)
    one = call()
    tally.add(
        [one._replace(series=(*one.series[:4], f"s{number}", *one.series[5:])) for number in range(12_000)]
    )
    assert len(tally._remembered) <= 10_000
    assert sum(each.count for each in tally.distributions()[DURATION.name].values()) == 12_000
