"""The templates: judged by AWS's schemas and a security scanner, and held together with the rest of the repository."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from cfnlint.api import lint_by_config
from cfnlint.config import ManualArgs

from calls import record
from infra_templates import (
    FOLDER,
    ROOT,
    digest_of_api,
    load,
    main_defaults,
    resolved,
    resources,
    template_names,
)
from llm_audit.index.schema import KEY_NAMES
from llm_audit.ingest import reports
from llm_audit.proxy.refusals import ERROR_TYPES
from llm_audit.record.encoding import document
from llm_audit.record.schema import ErrorInfo
from llm_audit.telemetry.emf import METRICS, NAMESPACE

CHILDREN = [name for name in template_names() if name != "main.yaml"]
INLINE_LIMIT = 51_200


def test_the_templates_are_what_aws_says_templates_are():
    """No error and no warning of cfn-lint's, which knows the schema of every resource type."""
    files = [str(FOLDER / name) for name in template_names()]
    found = lint_by_config(ManualArgs(templates=files))  # all in one run: it reads its rules once
    assert [f"{match.filename}: {match}" for match in found] == []


def test_the_security_scanner_finds_nothing_and_every_exception_has_its_reason():
    checkov = ROOT / ".venv/checkov/bin/checkov"
    if not checkov.exists():
        pytest.skip("checkov is not installed: `make test` installs it")
    ran = subprocess.run(
        [
            checkov,
            "--directory",
            FOLDER,
            "--framework",
            "cloudformation",
            "--skip-download",
            "--output",
            "json",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    results = json.loads(ran.stdout)["results"]
    assert [f"{check['check_id']} {check['resource']}" for check in results["failed_checks"]] == []
    assert results["parsing_errors"] == []
    assert len(results["passed_checks"]) > 100
    assert all(
        len(check["check_result"]["suppress_comment"].split()) > 5 for check in results["skipped_checks"]
    )


def test_the_root_is_sent_with_the_request_and_no_template_needs_an_alias():
    assert len((FOLDER / "main.yaml").read_bytes()) <= INLINE_LIMIT
    for name in template_names():
        aliases = [
            event for event in yaml.parse((FOLDER / name).read_text()) if getattr(event, "anchor", None)
        ]
        assert aliases == [], f"{name}: CloudFormation takes no YAML aliases"


@pytest.mark.parametrize("name", CHILDREN)
def test_the_root_tells_each_part_exactly_what_it_asks_for(name):
    nested = [
        resource["Properties"]
        for resource in load("main.yaml")["Resources"].values()
        if resource["Properties"]["TemplateURL"]["Fn::Sub"].endswith(f"/{name}")
    ]
    assert len(nested) == 1
    parameters = load(name)["Parameters"]
    required = {parameter for parameter, about in parameters.items() if "Default" not in about}
    assert required <= set(nested[0]["Parameters"]) <= set(parameters)


def test_the_root_asks_each_part_for_outputs_that_it_has():
    parts = {
        logical_id: resource["Properties"]["TemplateURL"]["Fn::Sub"].rpartition("/")[2]
        for logical_id, resource in load("main.yaml")["Resources"].items()
    }
    asked = re.findall(r"!GetAtt (\w+)\.Outputs\.(\w+)", (FOLDER / "main.yaml").read_text())
    assert asked
    for logical_id, output in asked:
        assert output in load(parts[logical_id])["Outputs"], (logical_id, output)


def test_a_change_of_the_gateway_is_a_change_of_its_deployments_name():
    """Otherwise CloudFormation would leave the stage on the snapshot of before."""
    deployments = [logical_id for _, logical_id, _ in resources("AWS::ApiGateway::Deployment")]
    assert deployments == [f"Deployment{digest_of_api()}"]
    stages = [stage["Properties"]["DeploymentId"] for _, _, stage in resources("AWS::ApiGateway::Stage")]
    assert stages == [{"Ref": deployments[0]}]


def test_the_deployment_waits_for_everything_it_takes_a_snapshot_of():
    gateway = load("gateway.yaml")["Resources"]
    (deployment,) = [one for one in gateway.values() if one["Type"] == "AWS::ApiGateway::Deployment"]
    taken = {
        logical_id
        for logical_id, resource in gateway.items()
        if resource["Type"] in {"AWS::ApiGateway::Method", "AWS::ApiGateway::GatewayResponse"}
    }
    assert set(deployment["DependsOn"]) == taken


def test_the_gateway_refuses_in_the_shape_and_with_the_words_of_the_proxy():
    for _, logical_id, response in resources("AWS::ApiGateway::GatewayResponse"):
        properties = response["Properties"]
        text = properties["ResponseTemplates"]["application/json"]
        error = json.loads(text.replace("$context.error.messageString", '"what is wrong"'))["error"]
        assert list(error) == ["message", "type", "param", "code"], logical_id
        if "StatusCode" in properties:
            assert error["type"] == ERROR_TYPES[int(properties["StatusCode"])], logical_id


def test_the_access_log_is_one_line_of_json_that_holds_no_header_and_no_body():
    (stage,) = [stage["Properties"] for _, _, stage in resources("AWS::ApiGateway::Stage")]
    text = stage["AccessLogSetting"]["Format"]
    assert "\n" not in text.strip()
    assert all(value.startswith("$context.") for value in json.loads(text).values())
    assert not re.search(r"header|body|querystring|requestOverride", text, re.IGNORECASE)


def test_the_table_has_the_keys_that_items_have():
    (table,) = [table["Properties"] for _, _, table in resources("AWS::DynamoDB::Table")]
    assert {about["AttributeName"] for about in table["AttributeDefinitions"]} == set(KEY_NAMES)
    indexes = {
        index["IndexName"]: [key["AttributeName"] for key in index["KeySchema"]]
        for index in table["GlobalSecondaryIndexes"]
    }
    assert [key["AttributeName"] for key in table["KeySchema"]] == ["id", "createdAt"]
    assert indexes == {
        "GSI_UserTime": ["userIdPk", "userIdSk"],
        "GSI_StatusTime": ["statusPk", "statusSk"],
        "GSI_ProjectLatency": ["latencyPk", "latencySk"],
    }


def hive_type(value):
    """Give the type that a column must have to read this JSON value; None where any will do."""
    match value:
        case bool():
            return "boolean"
        case int():
            return "bigint"
        case str():
            return "string"
        case dict():
            members = {name.lower(): hive_type(member) for name, member in value.items()}
            return "struct<" + ",".join(f"{name}:{kind}" for name, kind in members.items()) + ">"
        case list() | tuple():
            return f"array<{hive_type(value[0])}>" if value else None
    return None


def members_of(kind):
    """Give a struct's members with their types."""
    inner = kind.removeprefix("struct<").removesuffix(">")
    parts, depth, part = [], 0, ""
    for character in inner + ",":
        depth += (character == "<") - (character == ">")
        if character == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += character
    return dict(part.split(":", 1) for part in parts)


def test_athena_has_a_column_for_every_member_of_a_record():
    (calls,) = [table["Properties"]["TableInput"] for _, _, table in resources("AWS::Glue::Table")]
    columns = {column["Name"]: column["Type"] for column in calls["StorageDescriptor"]["Columns"]}
    written = document(record(error=ErrorInfo("upstream", "it said no")))
    assert list(columns) == [name.lower() for name in written]
    for name, value in written.items():
        column, kind = columns[name.lower()], hive_type(value)
        if kind is None or name == "chunkTimesMs":
            continue
        if kind.startswith("struct<"):
            expected, found = members_of(kind), members_of(column)
            assert set(expected) | ({"bodytext", "bodybase64"} & set(found)) == set(found), name
            for member, member_kind in expected.items():
                assert member_kind in {"None", found[member]} or found[member] == "string", (name, member)
        else:
            assert column.replace("int", "bigint").replace("bigbigint", "bigint") == kind, name


def test_athena_finds_the_days_where_records_are_put():
    (calls,) = [table["Properties"]["TableInput"] for _, _, table in resources("AWS::Glue::Table")]
    where = resolved(calls["Parameters"], {"AuditBucketName": "b", "FirstDay": "2025/11/01"}, {})
    assert where["storage.location.template"] == "s3://b/logs/${!day}/".replace("!", "")
    assert where["projection.day.format"] == "yyyy/MM/dd"
    assert where["projection.day.range"] == "2025/11/01,NOW"


def test_the_ready_queries_of_the_template_are_the_files():
    named = {
        query["Properties"]["Name"]: query["Properties"]
        for _, _, query in resources("AWS::Athena::NamedQuery")
    }
    files = {path.stem: path.read_text() for path in (ROOT / "infra/athena").glob("*.sql")}
    assert {name: query["QueryString"] for name, query in named.items()} == files


def test_alarms_and_dashboard_watch_metrics_that_somebody_writes():
    of_ingestion = {"IngestErrors", "IngestSkipped", "IngestAgeMs"}
    counts = dict.fromkeys(reports.COUNTS, 1)
    written = json.loads(reports.summary_lines(counts, [5], "llm-audit-ingest", 0, {})[0])
    assert of_ingestion <= set(written)
    watched = set()
    for _, logical_id, alarm in resources("AWS::CloudWatch::Alarm"):
        properties = alarm["Properties"]
        assert properties["AlarmActions"] == [{"Ref": "Topic"}], logical_id
        if properties["Namespace"] == NAMESPACE:
            (dimension,) = properties["Dimensions"]
            watched.add((properties["MetricName"], dimension["Name"]))
    assert watched == {(name, "Service") for name in METRICS} | {
        (name, "FunctionName") for name in of_ingestion
    }
    (dashboard,) = [one["Properties"] for _, _, one in resources("AWS::CloudWatch::Dashboard")]
    body = json.loads(resolved(dashboard["DashboardBody"], {}, {}))
    assert len(body["widgets"]) >= 8


def test_everything_that_is_named_after_the_document_is_named_so_by_default():
    defaults = main_defaults()
    names = {
        resolved(resource["Properties"][member], defaults, {})
        for member in (
            "FunctionName",
            "QueueName",
            "RoleName",
            "Name",
            "UsagePlanName",
            "TableName",
            "BucketName",
        )
        for _, _, resource in resources()
        if member in resource.get("Properties", {})
    }
    assert names >= {
        "llm-audit-ingest",
        "llm-audit-ingest-role",
        "llm-audit-dlq",
        "central-llm-audit",
        "central-llm-audit-raw",
        "CentralLLMAudit",
        "central-llm-usage-plan",
        "mistral8b-vllm-build",
        "validate-headers-and-body",
    }


def test_the_readme_speaks_of_every_template_and_every_parameter():
    text = (FOLDER / "README.md").read_text()
    missing = [
        word for word in (*template_names(), *load("main.yaml")["Parameters"]) if f"`{word}" not in text
    ]
    assert missing == []


def test_no_template_is_longer_than_a_person_reads():
    for path in sorted(Path(FOLDER).glob("*.yaml")):
        lines = len(path.read_text().splitlines())
        assert lines < 500, f"{path.name}: {lines} lines"
