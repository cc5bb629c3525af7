"""The guard rules: every template keeps them, and each of them sees what it is there to see."""

import copy
import functools
import json
import re

import pytest
from cfn_guard_rs.cfn_guard_rs import run_checks_rs

from infra_templates import ROOT, load, template_names


@functools.cache
def rules():
    """Give each rule by name, with the definitions of its file before it."""
    found = {}
    for path in sorted((ROOT / "infra/guard").glob("*.guard")):
        definitions, *parts = re.split(r"^(?=rule )", path.read_text(), flags=re.MULTILINE)
        found |= {part.split()[1]: definitions + part for part in parts}
    return found


@functools.cache
def _status(template, rule):
    """Give PASS, FAIL or SKIP. One rule at a time: what the binding says of several at once may come cut."""
    said = run_checks_rs(template, rules()[rule], False)
    return json.loads(said)["status"] if said.startswith("{") else "FAIL"


def broken_rules(template):
    """Give the names of the rules that a template breaks."""
    return {rule for rule in rules() if _status(json.dumps(template), rule) == "FAIL"}


def applied_rules(template):
    """Give the names of the rules that have something to say of a template."""
    return {rule for rule in rules() if _status(json.dumps(template), rule) != "SKIP"}


@pytest.mark.parametrize("name", template_names())
def test_every_template_keeps_every_rule(name):
    assert broken_rules(load(name)) == set()


def test_every_rule_speaks_of_something():
    assert set(rules()) == set().union(*(applied_rules(load(name)) for name in template_names()))


def at(template, path):
    """Give the container and the last key of a path such as ``Resources/AuditBucket/DeletionPolicy``."""
    *steps, last = path.split("/")
    for step in steps:
        template = template[int(step) if step.isdigit() else step]
    return template, int(last) if last.isdigit() else last


MISTAKES = [
    ("storage.yaml", "AuditBucket/DeletionPolicy", "Delete", "what_holds_data_outlives_its_stack"),
    ("host.yaml", "Journal/UpdateReplacePolicy", None, "what_holds_data_outlives_its_stack"),
    ("keys.yaml", "AuditKey/DeletionPolicy", None, "what_holds_data_outlives_its_stack"),
    (
        "storage.yaml",
        "AuditBucket/Properties/VersioningConfiguration/Status",
        "Suspended",
        "buckets_are_encrypted_versioned_and_private",
    ),
    (
        "athena.yaml",
        "Results/Properties/BucketEncryption",
        None,
        "buckets_are_encrypted_versioned_and_private",
    ),
    (
        "storage.yaml",
        "ArchiveBucket/Properties/PublicAccessBlockConfiguration/BlockPublicPolicy",
        False,
        "buckets_are_encrypted_versioned_and_private",
    ),
    (
        "storage.yaml",
        "AuditBucketPolicy/Properties/PolicyDocument/Statement/0/Condition",
        {},
        "buckets_speak_tls_only",
    ),
    (
        "storage.yaml",
        "AccessLogBucketPolicy/Properties/PolicyDocument/Statement/2/Principal",
        "*",
        "buckets_are_written_and_read_by_roles_not_by_everyone",
    ),
    (
        "storage.yaml",
        "AuditTable/Properties/DeletionProtectionEnabled",
        False,
        "tables_are_encrypted_and_can_be_restored",
    ),
    (
        "storage.yaml",
        "AuditTable/Properties/PointInTimeRecoverySpecification",
        None,
        "tables_are_encrypted_and_can_be_restored",
    ),
    ("keys.yaml", "AuditKey/Properties/EnableKeyRotation", False, "keys_rotate"),
    ("host.yaml", "Journal/Properties/Encrypted", False, "volumes_are_encrypted"),
    ("ingest.yaml", "FunctionLog/Properties/RetentionInDays", None, "logs_are_encrypted_and_end"),
    ("gateway.yaml", "AccessLog/Properties/KmsKeyId", None, "logs_are_encrypted_and_end"),
    (
        "ingest.yaml",
        "DeadLetters/Properties/SqsManagedSseEnabled",
        None,
        "queues_and_topics_are_encrypted",
    ),
    ("alarms.yaml", "Topic/Properties/KmsMasterKeyId", None, "queues_and_topics_are_encrypted"),
    (
        "ingest.yaml",
        "FunctionRole/Properties/Policies/0/PolicyDocument/Statement/0/Action",
        ["dynamodb:*"],
        "no_action_is_a_wildcard",
    ),
    (
        "service.yaml",
        "TaskRole/Properties/Policies/0/PolicyDocument/Statement/1/Action",
        "s3:*",
        "no_action_is_a_wildcard",
    ),
    (
        "ingest.yaml",
        "QueueReaderPolicy/Properties/PolicyDocument/Statement/0/Action",
        ["sqs:*"],
        "no_action_is_a_wildcard",
    ),
    (
        "ingest.yaml",
        "FunctionRole/Properties/Policies/0/PolicyDocument/Statement/3/Fn::If/1/Action",
        ["s3:Put*"],
        "no_action_is_a_wildcard",
    ),
    (
        "ingest.yaml",
        "FunctionRole/Properties/Policies/0/PolicyDocument/Statement/1/Resource",
        "*",
        "no_resource_is_a_wildcard",
    ),
    (
        "build.yaml",
        "BuildRole/Properties/Policies/0/PolicyDocument/Statement/1/Resource",
        "*",
        "no_resource_is_a_wildcard",
    ),
    (
        "ingest.yaml",
        "FunctionRole/Properties/AssumeRolePolicyDocument/Statement/0/Principal",
        {"AWS": "*"},
        "no_role_is_assumed_by_everyone",
    ),
    (
        "ingest.yaml",
        "AllowS3Invoke/Properties/SourceAccount",
        None,
        "services_call_for_this_account_only",
    ),
    ("ingest.yaml", "Function/Properties/DeadLetterConfig", None, "functions_keep_what_they_fail_at"),
    ("gateway.yaml", "AnyMethod/Properties/ApiKeyRequired", False, "calls_need_a_key_and_their_headers"),
    (
        "gateway.yaml",
        "AnyMethod/Properties/RequestParameters/method.request.header.x-llm-user",
        None,
        "calls_need_a_key_and_their_headers",
    ),
    (
        "gateway.yaml",
        "Stage/Properties/MethodSettings/0/DataTraceEnabled",
        True,
        "the_gateway_logs_who_came_but_nothing_that_was_said",
    ),
    (
        "host.yaml",
        "HostGroup/Properties/SecurityGroupIngress",
        [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0"}],
        "nobody_connects_from_the_internet",
    ),
    (
        "host.yaml",
        "HostTemplate/Properties/LaunchTemplateData/MetadataOptions/HttpTokens",
        "optional",
        "nobody_connects_from_the_internet",
    ),
    (
        "service.yaml",
        "Task/Properties/ContainerDefinitions/0/PortMappings",
        [{"ContainerPort": 8000}, {"ContainerPort": 8001}],
        "tasks_are_confined",
    ),
    ("service.yaml", "Task/Properties/ContainerDefinitions/0/StopTimeout", 120, "tasks_are_confined"),
    (
        "service.yaml",
        "Task/Properties/ContainerDefinitions/0/Environment/0",
        {"Name": "AUDIT_GATEWAY_SECRET", "Value": "x"},
        "no_secret_stands_in_the_open",
    ),
    ("keys.yaml", "GatewaySecret/Properties/SecretString", "x", "no_secret_stands_in_the_open"),
    (
        "ingest.yaml",
        "Function/Properties/Environment/Variables/DB_PASSWORD",
        "x",
        "no_secret_stands_in_the_open",
    ),
]


@pytest.mark.parametrize(("name", "path", "value", "rule"), MISTAKES, ids=lambda value: str(value)[:60])
def test_a_mistake_breaks_the_rule_against_it(name, path, value, rule):
    template = copy.deepcopy(load(name))
    container, key = at(template["Resources"], path)
    if value is None:
        del container[key]
    else:
        container[key] = value
    assert broken_rules(template) == {rule}


def test_there_is_a_mistake_for_every_rule():
    assert {rule for *_, rule in MISTAKES} == set(rules())
