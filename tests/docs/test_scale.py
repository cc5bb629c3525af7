"""docs/scale.md says what its model says, and the model what a hand reckons and the template sets."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.scale import PAGE, page, world
from bench.scaling import reach
from bench.scaling.inputs import Input, Inputs
from bench.scaling.model import (
    GATEWAY_TIERS,
    GB,
    Setup,
    archive_after_90_days,
    calls_bill,
    functions_at_once,
    invocation_ms,
    keeping_bill,
    month,
    node,
    standing_bill,
    total,
    write_units,
    writes_per_call,
)
from bench.scaling.prices import PRICES, Origin, PriceList, UnknownPriceError
from bench.scaling.sizes import CallSize
from bench.scaling.tables import blocks
from infra_templates import load
from llm_audit.ingest.lambda_settings import STATUS_SHARDS_LIMIT

ROOT = Path(__file__).parents[2]
CALL = CallSize(
    "made up",
    "",
    request=1_000,
    response=2_000,
    journal=4_000,
    object=GB // 1_000_000,
    item={2048: 5_100, 0: 1_100},
)
"""A call whose million objects are one GB, and whose item takes five write units."""
FIGURES = {
    "proxy_us_call": 100, "proxy_us_stream": 2_000, "shipper_us": 300, "shipper_us_stream_more": 500, "streams_memory_mb": 40, "lambda_us_object": 5_000,
    "lambda_us_invocation": 0, "sqlite_objects_s": 3_000, "busy": 0.6, "call_s": 5, "lambda_wait_ms": 25,
    "lambda_overhead_ms": 2, "lambda_memory_mb": 1769, "lambda_log_bytes": 0, "gateway_log_bytes": 0,
    "access_log_bytes": 0, "kms_share": 0.01,
}  # fmt: skip
INPUTS = Inputs(
    "a desk", {name: Input(name, value, "", "", "", is_measured=False) for name, value in FIGURES.items()}
)


def test_the_page_says_what_the_model_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, blocks(world())) == text, (
        "docs/scale.md is stale: run make docs (or bench/scale.py --write)"
    )


def test_an_item_takes_a_unit_for_each_kilobyte_begun_and_again_in_each_index() -> None:
    assert [write_units(size) for size in (1, 1_024, 1_025, 5_120, 5_121)] == [1, 1, 2, 5, 6]
    assert writes_per_call(5_120) == 20
    assert writes_per_call(5_120, indexes=2) == 15


def test_a_million_calls_cost_what_a_hand_adds_up() -> None:
    bill = calls_bill(CALL, Setup(archive=False), PriceList(), INPUTS)
    out = 2_000 * 1e6 / 2**30 * 0.09
    carried = 3_000 * 1e6 / 2**30 * 0.006
    run = 1e6 * (2 + 5 + 25) / 1000 * 1769 / 1024 * 0.0000133334
    kms = 0.02 * 3.00
    assert total(bill) == pytest.approx(3.70 + out + carried + 5.40 + 0.43 + kms + 0.20 + run + 20 * 0.7625)


def test_a_raw_archive_is_a_second_put_and_a_second_copy() -> None:
    prices = PriceList()
    without, with_it = Setup(archive=False), Setup(archive=True)
    assert total(calls_bill(CALL, with_it, prices, INPUTS)) == pytest.approx(
        total(calls_bill(CALL, without, prices, INPUTS)) + 5.40 + 0.01 * 3.00
    )
    kept = [keeping_bill(CALL, setup, prices, INPUTS)[0].usd for setup in (without, with_it)]
    assert kept == pytest.approx([0.0245 * 180 * 12 / 365, 0.0245 * 180 * 12 / 365 * 2], rel=1e-3)


def test_a_queue_has_a_request_for_each_message_and_two_for_each_batch() -> None:
    lines = {
        line.service + line.what: line for line in calls_bill(CALL, Setup(queued=True), PriceList(), INPUTS)
    }
    assert lines["SQSsend, receive, delete"].usd == pytest.approx(1.2 * 0.40)
    assert lines["Lambdainvocations"].usd == pytest.approx(0.02)


def test_a_batch_takes_the_sum_of_its_objects_so_few_less_functions_run_at_once() -> None:
    assert invocation_ms(INPUTS, 1) == pytest.approx(32)
    assert invocation_ms(INPUTS, 10) == pytest.approx(302)
    assert functions_at_once(1_000, INPUTS, 1) == pytest.approx(32)
    assert functions_at_once(1_000, INPUTS, 10) == pytest.approx(30.2)


def test_less_memory_is_less_of_a_processor() -> None:
    small = Inputs(
        "", INPUTS.by_name | {"lambda_memory_mb": replace(INPUTS.by_name["lambda_memory_mb"], value=1769 / 4)}
    )
    assert invocation_ms(small, 1) == pytest.approx(2 + 4 * 5 + 25)


def test_an_item_is_stored_in_the_table_and_in_each_index_but_recovered_from_the_table_alone() -> None:
    _, stored, recovery, *_ = keeping_bill(CALL, Setup(), PriceList(), INPUTS)
    months = 180 * 12 / 365
    assert stored.usd == pytest.approx(5_200 * 1e6 / 2**30 * 4 * 0.306 * months)
    assert recovery.usd == pytest.approx(5_200 * 1e6 / 2**30 * 0.2448 * months)


def test_the_gateways_price_falls_step_by_step() -> None:
    prices = PriceList()
    assert prices.tiered(100, GATEWAY_TIERS) == pytest.approx(370)
    assert prices.tiered(2_628, GATEWAY_TIERS) == pytest.approx(333 * 3.70 + 667 * 3.06 + 1_628 * 2.60)
    assert month(1_000, CALL, Setup(), prices, INPUTS).gateway < 2_628 * 3.70 + 2_628 * 0.20


def test_an_outage_may_last_until_the_journals_of_all_nodes_are_full() -> None:
    one, many = (node(rate, CALL, PriceList(), INPUTS) for rate in (1_000, 100_000))
    assert (one.nodes, one.workers, many.nodes, many.workers) == (1, 1, 50, 50)
    assert one.outage_hours_10 == pytest.approx(10 * 2**30 / 4_000_000 / 3600)
    assert many.outage_hours_10 == pytest.approx(one.outage_hours_10 / 2)
    assert one.cores == pytest.approx(0.4)
    streams = node(1_000, CALL, PriceList(), INPUTS, streamed=True)
    assert (streams.workers, streams.nodes) == (4, 2)
    assert streams.cores == pytest.approx(2.8)


def test_one_sources_calls_are_those_of_one_partition_whatever_is_set() -> None:
    found = {one.what: one for one in reach.reaches(CALL, Setup(status_shards=64, concurrency=900), INPUTS)}
    source = found["one source (`id`)"]
    assert (source.calls_s, source.moves) == (200, False)
    assert found["one user (`GSI_UserTime`)"].moves is False
    status = next(one for what, one in found.items() if what.startswith("one status"))
    assert (status.calls_s, status.moves) == (200 * 64, True)
    assert [one.what for one in found.values() if not one.moves] == [source.what, "one user (`GSI_UserTime`)"]


def test_small_objects_stay_out_of_glacier_and_large_ones_pay_off_only_over_years() -> None:
    prices, large = PriceList(), replace(CALL, object=200_000)
    assert archive_after_90_days(CALL, prices, 180) == pytest.approx(0.0245 * 180 * 12 / 365, rel=1e-3)
    assert archive_after_90_days(CALL, prices, 180, forced=True) > 20 + 122 * 3 * 0.005 * 0.9
    standard = 200_000 * 1e6 / 2**30 * 0.0245 * 12 / 365
    assert archive_after_90_days(large, prices, 180) > standard * 180
    assert archive_after_90_days(large, prices, 2_555) < standard * 2_555


def test_the_model_reckons_with_what_the_template_sets() -> None:
    values = {name: one.get("Default") for name, one in load("main.yaml")["Parameters"].items()}
    setup = Setup()
    assert (setup.previews, setup.status_shards, setup.concurrency, setup.log_days) == (
        values["MaxPreviewChars"], values["StatusShards"], values["IngestConcurrency"], values["LogRetentionDays"],
    )  # fmt: skip
    assert setup.queued is (values["IngestMode"] == "sqs")
    assert setup.archive is bool(values["ArchiveBucketName"])
    assert (values["RequestsPerSecond"], values["RequestsPerDay"]) == (reach.PLAN_RATE, reach.PLAN_DAY)
    assert load("main.yaml")["Parameters"]["StatusShards"]["MaxValue"] == reach.STACK_SHARDS
    assert reach.FUNCTION_SHARDS == STATUS_SHARDS_LIMIT
    ingest = load("ingest.yaml")["Resources"]
    assert ingest["Function"]["Properties"]["MemorySize"] == world().inputs["lambda_memory_mb"]
    assert ingest["FromQueue"]["Properties"]["BatchSize"] == setup.batch
    assert (
        len(load("storage.yaml")["Resources"]["AuditTable"]["Properties"]["GlobalSecondaryIndexes"])
        == setup.indexes
    )


def test_what_stands_still_is_what_the_template_makes() -> None:
    quantity = {line.service + line.what: line.quantity for line in standing_bill(PriceList())}
    alarms = [
        one for one in load("alarms.yaml")["Resources"].values() if one["Type"] == "AWS::CloudWatch::Alarm"
    ]
    assert quantity["CloudWatchalarms"] == str(len(alarms))
    assert (
        quantity["EBSthe journal's disk"]
        == f"{load('main.yaml')['Parameters']['JournalVolumeGiB']['Default']} GB"
    )


def test_a_price_from_memory_is_called_unverified_and_every_other_says_where_it_is_from() -> None:
    rows = {
        row[0]: row
        for row in re.findall(r"^\| `(\w+)` \|(.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    }
    for price in PRICES:
        assert ("unverified" in rows[price.name][1]) is (price.origin is Origin.MEMORY), price.name
        assert price.usd > 0


def test_a_readers_price_takes_the_place_of_the_lists_and_shows() -> None:
    free = world({"dynamodb_wru": 0.0})
    assert "$9.15" in blocks(world())["previews"]
    assert "$9.15" not in blocks(free)["previews"]
    assert (
        "`dynamodb_wru` | DynamoDB on-demand, write request units | $0 / million | changed by the reader"
        in blocks(free)["prices"]
    )


def test_a_price_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(UnknownPriceError, match=r"no price dynamodb_wcu; expected one of .*dynamodb_wru"):
        PriceList({"dynamodb_wcu": 1.0})


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="the page has places for"):
        page("no marks at all", {"sizes": "| a |"})
    with pytest.raises(ValueError, match="lacks <!-- end of sizes -->"):
        page("<!-- sizes: written by bench/scale.py -->", {"sizes": "| a |"})


def test_the_script_prints_one_table_at_a_readers_price() -> None:
    done = subprocess.run(
        [sys.executable, "bench/scale.py", "--only", "million", "--price", "s3_put=1"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "| S3 | PUT of the record | 1,000,000 · $1.00 |" in done.stdout
    assert "## sizes" not in done.stdout


def test_the_script_refuses_a_price_that_is_no_number_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "bench/scale.py", "--price", "s3_put=cheap"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "'s3_put=cheap' is not of the form NAME=USD" in done.stderr
