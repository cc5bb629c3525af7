"""``llm-audit aws``: the whole system as one CloudFormation stack, set up, looked at and taken down."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from llm_audit.cli.aws_screen import AwsUsageError, Screen, failure, told
from llm_audit.cli.lambda_bundle import archive, bundle
from llm_audit.cli.reading import ProblemError
from llm_audit.cli.settings import Settings, with_settings
from llm_audit.deploy import parameters as given
from llm_audit.deploy.changes import Change
from llm_audit.deploy.clients import Aws, open_aws
from llm_audit.deploy.deployment import Deployer, Request
from llm_audit.deploy.following import Marks, current_operation, find_cause, follow, marks
from llm_audit.deploy.holdings import Holding, measure
from llm_audit.deploy.removal import begin_to_remove, check_named, data_resources, delete_data, kept_by
from llm_audit.deploy.sources import TEMPLATE
from llm_audit.deploy.stacks import Stack, Stacks
from llm_audit.deploy.states import Next

_Function = Callable[..., Any]
DEFAULT_STACK = "central-llm-audit"


def with_stack(function: _Function) -> _Function:
    """Decorate a command with the options that all of them have."""
    for option in (
        with_settings("aws_region", "aws_endpoint_url"),
        click.option("--json", "as_json", is_flag=True, help="Print JSON lines."),
        click.option(
            "--stack", metavar="NAME", default=DEFAULT_STACK, show_default=True, help="The stack's name."
        ),
    ):
        function = option(function)
    return function


@click.group(
    epilog="""\b
Example:
  llm-audit aws deploy --dry-run --parameter AlarmEmail=ops@example.com
  llm-audit aws deploy --parameter AlarmEmail=ops@example.com
  llm-audit doctor --aws --stack central-llm-audit
  llm-audit aws destroy""",
    short_help="Set up, look at and take down the system on AWS.",
)
def command() -> None:
    """Set up, look at and take down the system on AWS, as one CloudFormation stack.

    Needs boto3 (pip install 'central-llm-audit[aws]') and credentials where every AWS SDK finds them.
    """


@command.command(
    epilog="""\b
Example:
  llm-audit aws deploy --parameters-file prod.json --parameter IngestMode=sqs --tag team=platform"""
)
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option(
    "--parameter", "assigned", metavar="NAME=VALUE", multiple=True, help="A template parameter (repeat)."
)
@click.option(
    "--parameters-file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="JSON with parameters; --parameter wins over it.",
)
@click.option(
    "--tag", "tags", metavar="NAME=VALUE", multiple=True, help="A tag of everything in the stack (repeat)."
)
@click.option(
    "--template", metavar="FILE", type=click.Path(path_type=Path), help="Another template than our own."
)
@click.option("--artifacts-bucket", metavar="NAME", help="Bucket for a large template and the Lambda's zip.")
@click.option(
    "--protect/--no-protect",
    "protects",
    default=None,
    help="Termination protection; default: on for a new stack, as it is for others.",
)
@click.option("--continue-rollback", is_flag=True, help="Let a stack whose rollback failed go on with it.")
@click.option("--yes", is_flag=True, help="Do not ask before audit data is replaced or removed.")
@with_stack
def deploy(
    *,
    dry_run: bool,
    assigned: tuple[str, ...],
    parameters_file: Path | None,
    tags: tuple[str, ...],
    template: Path | None,
    artifacts_bucket: str | None,
    protects: bool | None,
    continue_rollback: bool,
    yes: bool,
    stack: str,
    as_json: bool,
    settings: Settings,
) -> None:
    """Make the stack, or bring it to what the template and the parameters say.

    Shows the changes, then the events as they come, then the outputs. A parameter that is not given keeps the value
    that the stack has. Ctrl-C ends the watching only. Exit code 1 where the stack did not get there.
    """
    screen = Screen(as_json=as_json)
    with told():
        aws = open_aws(settings.aws_region, settings.aws_endpoint_url)
        if continue_rollback:
            _continue_rollback(Stacks(aws.cloudformation), stack, screen)
            return
        from_file = given.read_file(parameters_file) if parameters_file else {}
        request = Request(
            stack=stack,
            template=template or TEMPLATE,
            parameters=from_file | given.assignments(assigned),
            tags=given.assignments(tags, "--tag") or None,
            build_code=lambda: archive(bundle()),
            artifacts_bucket=artifacts_bucket,
        )
        _deploy(Deployer(aws, request, screen.say), screen, protects=protects, is_dry=dry_run, is_sure=yes)


def _deploy(
    deployer: Deployer, screen: Screen, *, protects: bool | None, is_dry: bool, is_sure: bool
) -> None:
    existing = deployer.existing()
    if existing and existing.state.next is Next.REMOVE_THEN_CREATE:
        if is_dry:
            raise ProblemError(
                f"the stack {existing.name} {existing.state.meaning}: a deploy replaces it wholly"
            )
        screen.say(f"{existing.name} {existing.state.meaning}: it is removed and made anew")
        after = deployer.begin_to_clear(existing)
        _watch(deployer.stacks, existing, after, screen)
        existing = None
    planned = deployer.plan(existing)
    screen.changes(planned.changes, planned.stack_name)
    if is_dry or not planned.changes:
        deployer.stacks.discard(planned)
        screen.say("nothing was changed")
        if protects is not None and not is_dry and existing:
            deployer.stacks.protect(existing.name, on=protects)
        if not is_dry and existing:
            screen.outputs(existing)
        return
    try:
        _ask_about_data([change for change in planned.changes if change.is_of_data], is_sure=is_sure)
    except click.ClickException:
        deployer.stacks.discard(planned)
        raise
    turn_on = planned.is_creation if protects is None else protects
    if protects is False and existing:
        deployer.stacks.protect(existing.name, on=False)
    after = deployer.begin(planned, is_protected=turn_on)
    stands = _watch(deployer.stacks, _existing(deployer.stacks, planned.stack_id), after, screen)
    screen.stack(stands)
    screen.outputs(stands)


def _ask_about_data(changes: Sequence[Change], *, is_sure: bool) -> None:
    if not changes or is_sure:
        return
    names = ", ".join(change.logical_id for change in changes)
    if not sys.stdin.isatty():
        raise ProblemError(
            f"{names} hold audit data and would be replaced or removed: nothing was changed\n  → --yes"
        )
    click.confirm(f"{names} hold audit data and would be replaced or removed. Go on?", abort=True, err=True)


def _continue_rollback(stacks: Stacks, name: str, screen: Screen) -> None:
    stack = _existing(stacks, name)
    if stack.state.next is not Next.CONTINUE_ROLLBACK:
        raise ProblemError(
            f"the stack {name} {stack.state.meaning} ({stack.status}): there is no rollback to continue"
        )
    after = marks(stacks, stack.id)
    stacks.continue_rollback(name)
    screen.stack(_watch(stacks, stack, after, screen, ends=("UPDATE_ROLLBACK_COMPLETE",)))


_GOOD_ENDS = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE", "IMPORT_COMPLETE")


def _watch(
    stacks: Stacks, stack: Stack, after: Marks, screen: Screen, ends: Sequence[str] = _GOOD_ENDS
) -> Stack:
    """Show an operation until it ends; give the stack then. Raises its root cause unless it ended well."""
    seen = screen.follow(follow(stacks, stack.id, after), stack.name)
    now = _existing(stacks, stack.id)
    if seen[-1].status not in ends:
        raise failure(find_cause(stacks, seen), now)
    return now


def _existing(stacks: Stacks, name: str) -> Stack:
    stack = stacks.find(name)
    if stack is None:
        raise ProblemError(
            f"there is no stack {name} in this account and region\n  → check --stack and AWS_REGION"
        )
    return stack


@command.command(epilog="\b\nExample:\n  llm-audit aws status --follow")
@click.option("--events", "with_events", is_flag=True, help="Show the events of the newest operation.")
@click.option("--follow", "follows", is_flag=True, help="Watch until a running operation ends.")
@with_stack
def status(*, with_events: bool, follows: bool, stack: str, as_json: bool, settings: Settings) -> None:
    """Say where the stack stands and what to do about it. Exit code 1 where it is not as it should be."""
    screen = Screen(as_json=as_json)
    with told():
        stacks = Stacks(open_aws(settings.aws_region, settings.aws_endpoint_url).cloudformation)
        found = _existing(stacks, stack)
        events = current_operation(stacks, found.id)
        if with_events or follows:
            for event in events:
                screen.event(event)
        if follows and found.state.is_running:
            known = {**marks(stacks, found.id), found.id: events[-1].id if events else None}
            screen.follow(follow(stacks, found.id, known), stack)
            found = stacks.find(found.id) or found
        screen.stack(found, len(stacks.all_resources(found.id)))
        if not found.state.is_good and not found.state.is_running:
            raise failure(find_cause(stacks, current_operation(stacks, found.id)), None)


@command.command(epilog="\b\nExample:\n  API=$(llm-audit aws outputs ApiUrl)")
@click.argument("name", required=False)
@with_stack
def outputs(*, name: str | None, stack: str, as_json: bool, settings: Settings) -> None:
    """Print the stack's outputs, or the value of the one called NAME."""
    with told():
        found = _existing(
            Stacks(open_aws(settings.aws_region, settings.aws_endpoint_url).cloudformation), stack
        )
        if name is None:
            Screen(as_json=as_json).outputs(found)
        elif name in found.outputs:
            click.echo(found.outputs[name])
        else:
            raise AwsUsageError(
                f"{stack} has no output {name}; it has {', '.join(sorted(found.outputs)) or 'none'}"
            )


@command.command(
    epilog="""\b
Example:
  llm-audit aws destroy                     # everything goes but audit data
  llm-audit aws destroy --delete-data CentralLLMAudit --yes-delete-audit-data"""
)
@click.option("--yes", is_flag=True, help="Do not ask for the stack's name first.")
@click.option("--unprotect", is_flag=True, help="Lift termination protection.")
@click.option(
    "--delete-data", "doomed", metavar="NAME", multiple=True, help="A bucket or table to delete too (repeat)."
)
@click.option(
    "--yes-delete-audit-data", "is_doom_sure", is_flag=True, help="The second word that --delete-data needs."
)
@with_stack
def destroy(
    *,
    yes: bool,
    unprotect: bool,
    doomed: tuple[str, ...],
    is_doom_sure: bool,
    stack: str,
    as_json: bool,
    settings: Settings,
) -> None:
    """Take the stack down. Audit data, buckets and table, stays unless it is named and confirmed a second time.

    Says what remains and about what it costs. Exit code 1 where something could not be removed.
    """
    screen = Screen(as_json=as_json)
    with told():
        aws = open_aws(settings.aws_region, settings.aws_endpoint_url)
        stacks = Stacks(aws.cloudformation)
        found = _existing(stacks, stack)
        if found.is_protected and not unprotect:
            raise ProblemError(
                f"the stack {stack} is protected against deletion\n  → if it shall go: --unprotect"
            )
        holdings = measure(aws, data_resources(stacks.all_resources(found.id)))
        check_named(doomed, holdings)
        condemned = [holding for holding in holdings if holding.name in doomed]
        _ask(stack, holdings, condemned, screen, is_sure=yes, is_doom_sure=is_doom_sure)
        after = begin_to_remove(stacks, found, unprotects=unprotect)
        seen = screen.follow(follow(stacks, found.id, after), stack)
        if seen[-1].status != "DELETE_COMPLETE":
            raise failure(find_cause(stacks, seen), stacks.find(found.id))
        _delete(aws, condemned, screen)
        kept = {(one.logical_id, one.name, one.type) for one in holdings} | set(kept_by(seen))
        remains = measure(aws, sorted(kept))
        if remains:
            screen.holdings("These remain in the account, and go on to cost:", remains)
        else:
            screen.say("nothing of the stack remains in the account")


def _ask(
    stack: str,
    holdings: Sequence[Holding],
    condemned: Sequence[Holding],
    screen: Screen,
    *,
    is_sure: bool,
    is_doom_sure: bool,
) -> None:
    """Ask for the stack's name, and, where data shall go, for a second word. Raises ProblemError without them."""
    is_terminal = sys.stdin.isatty()
    if holdings and not screen.as_json:
        screen.holdings("The stack holds:", holdings)
    if condemned and not is_doom_sure:
        names = " and ".join(holding.name for holding in condemned)
        if not is_terminal:
            raise ProblemError(
                f"{names} would be deleted for good: nothing was done\n  → --yes-delete-audit-data"
            )
        wanted = "delete audit data"
        _typed(wanted, f"All audit data in {names} will be gone, for good. Type '{wanted}' to go on")
    if not is_sure:
        if not is_terminal:
            raise ProblemError(f"the stack {stack} would be taken down: nothing was done\n  → --yes")
        _typed(stack, f"Type the stack's name to take {stack} down")


def _typed(wanted: str, question: str) -> None:
    if click.prompt(question, default="", show_default=False, err=True) != wanted:
        raise ProblemError("that was not it: nothing was done")


def _delete(aws: Aws, condemned: Sequence[Holding], screen: Screen) -> None:
    for holding in condemned:
        screen.say(f"deleting {holding.name} and everything in it")
        delete_data(aws, holding, lambda count: screen.say(f"{count:,} versions deleted"))
