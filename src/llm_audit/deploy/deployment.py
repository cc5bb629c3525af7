"""From a template and what was asked for to a change set, ready to be shown or carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llm_audit.deploy.artifacts import (
    INLINE_LIMIT,
    LARGEST_TEMPLATE,
    default_bucket,
    ensure_bucket,
    upload,
)
from llm_audit.deploy.clients import Aws
from llm_audit.deploy.errors import DeployError, WrongUsageError
from llm_audit.deploy.following import Marks, marks
from llm_audit.deploy.package import BUCKET_PARAMETER, CODE_NAME, PREFIX_PARAMETER, Package, template_key
from llm_audit.deploy.parameters import check_known, for_cloudformation
from llm_audit.deploy.removal import begin_to_remove
from llm_audit.deploy.sources import read_nested, read_template
from llm_audit.deploy.stacks import ChangeSet, Stack, Stacks, Summary, Template
from llm_audit.deploy.states import Next

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a deployment."""

    stack: str
    template: Path
    """Its nested templates lie beside it."""
    parameters: Mapping[str, str]
    tags: Mapping[str, str] | None
    """None keeps the stack's."""
    build_code: Callable[[], bytes]
    """Makes the Lambda's zip; called where the template takes one and no place is given."""
    artifacts_bucket: str | None = None


class Deployer:
    """One deployment; ``say`` is told what it does besides CloudFormation."""

    def __init__(self, aws: Aws, request: Request, say: Say) -> None:
        self.stacks = Stacks(aws.cloudformation)
        self._aws = aws
        self._request = request
        self._say = say
        self._is_bucket_ready = False

    def existing(self) -> Stack | None:
        """Give the stack as it is; raises DeployError where nothing can be done with it as it stands."""
        stack = self.stacks.find(self._request.stack)
        if stack and stack.state.next in (Next.REFUSE, Next.CONTINUE_ROLLBACK):
            words = f"the stack {stack.name} {stack.state.meaning} ({stack.status})"
            raise DeployError(words, stack.state.advice)
        return stack

    def begin_to_clear(self, stack: Stack) -> Marks:
        """Begin to remove a stack whose creation failed: it holds nothing, and stands in the way of a new one."""
        return begin_to_remove(self.stacks, stack, unprotects=True)

    def plan(self, stack: Stack | None) -> ChangeSet:
        """Upload what CloudFormation reads, in a dry run too, and make the change set."""
        template = self._template()
        summary = self.stacks.summary(template)
        parameters = dict(self._request.parameters)
        check_known(parameters, summary.parameters)
        existing = stack.parameters if stack and stack.state.next is Next.UPDATE else {}
        if {BUCKET_PARAMETER, PREFIX_PARAMETER} <= summary.parameters - parameters.keys():
            parameters |= self._package()
        missing = summary.required - parameters.keys() - existing.keys()
        if missing:
            names = ", ".join(sorted(missing))
            raise WrongUsageError(
                f"the template needs a value for {names}", "give it with --parameter Name=Value"
            )
        return self.stacks.plan(
            self._request.stack,
            template,
            is_creation=stack is None or stack.state.next is not Next.UPDATE,
            parameters=for_cloudformation(parameters, summary.parameters, existing.keys()),
            tags=self._request.tags,
            capabilities=capabilities(summary, is_nesting=PREFIX_PARAMETER in parameters),
        )

    def _template(self) -> Template:
        content = read_template(self._request.template)
        if len(content) > LARGEST_TEMPLATE:
            raise WrongUsageError(
                f"the template has {len(content):,} bytes",
                f"CloudFormation takes at most {LARGEST_TEMPLATE:,}",
            )
        if len(content) > INLINE_LIMIT:
            bucket, key = self._bucket(), template_key(content)
            upload(self._aws, bucket, key, content, self._say)
            return Template(url=self._aws.object_url(bucket, key))
        try:
            return Template(body=content.decode("utf-8"))
        except UnicodeDecodeError:
            raise WrongUsageError("the template is not UTF-8", "see --template") from None

    def _package(self) -> dict[str, str]:
        package = Package({**read_nested(self._request.template), CODE_NAME: self._request.build_code()})
        bucket = self._bucket()
        for key, content in package.objects():
            upload(self._aws, bucket, key, content, self._say)
        return {BUCKET_PARAMETER: bucket, PREFIX_PARAMETER: package.prefix}

    def _bucket(self) -> str:
        bucket = self._request.artifacts_bucket or default_bucket(self._aws)
        if not self._is_bucket_ready:
            ensure_bucket(self._aws, bucket, self._say)
            self._is_bucket_ready = True
        return bucket

    def begin(self, change_set: ChangeSet, *, is_protected: bool) -> Marks:
        """Begin to carry a change set out; give the marks after which its events come.

        Protected from its first moment on, where it shall be.
        """
        after = marks(self.stacks, change_set.stack_id)
        if is_protected:
            self.stacks.protect(change_set.stack_name, on=True)
        self.stacks.carry_out(change_set)
        return after


def capabilities(summary: Summary, *, is_nesting: bool) -> tuple[str, ...]:
    """Give what AWS wants acknowledged: what it asks for, and where templates nest, that their roles have names."""
    return tuple({*summary.capabilities, *(("CAPABILITY_NAMED_IAM",) if is_nesting else ())})
