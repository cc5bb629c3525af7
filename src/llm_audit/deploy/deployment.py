"""From a template and what was asked for to a change set, ready to be shown or carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from llm_audit.deploy.artifacts import (
    INLINE_LIMIT,
    LARGEST_TEMPLATE,
    Artifact,
    default_bucket,
    ensure_bucket,
    upload,
)
from llm_audit.deploy.clients import Aws
from llm_audit.deploy.errors import DeployError, WrongUsageError
from llm_audit.deploy.events import StackEvent
from llm_audit.deploy.following import follow, marks
from llm_audit.deploy.parameters import check_known, for_cloudformation
from llm_audit.deploy.packaging import pack
from llm_audit.deploy.sources import CODE_PLACE, read_template
from llm_audit.deploy.stacks import ChangeSet, Stack, Stacks, Template
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
    adopts: bool = False
    """Whether resources that exist under their names (kept from an earlier stack) are taken over."""


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

    def clear(self, stack: Stack) -> Iterator[StackEvent]:
        """Remove a stack whose creation failed: it holds nothing, and stands in the way of a new one."""
        if stack.is_protected:
            self.stacks.protect(stack.name, on=False)
        after = marks(self.stacks, stack.id)
        self.stacks.remove(stack.id)
        yield from follow(self.stacks, stack.id, after)

    def plan(self, stack: Stack | None, *, is_dry: bool) -> ChangeSet:
        """Upload what must be uploaded and make the change set."""
        template = self._template()
        summary = self.stacks.summary(template)
        parameters = dict(self._request.parameters)
        check_known(parameters, summary.parameters)
        existing = stack.parameters if stack and stack.state.next is Next.UPDATE else {}
        if {CODE_PLACE.bucket, CODE_PLACE.key} <= summary.parameters - parameters.keys():
            parameters |= self._code(is_dry=is_dry)
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
            capabilities=summary.capabilities,
            adopts=self._request.adopts,
        )

    def _template(self) -> Template:
        path = self._request.template
        content = pack(path.name, lambda name: read_template(path.parent / name), self._place)
        if len(content) > INLINE_LIMIT:
            return Template(url=self._place(content))
        try:
            return Template(body=content.decode("utf-8"))
        except UnicodeDecodeError:
            raise WrongUsageError("the template is not UTF-8", "see --template") from None

    def _place(self, content: bytes) -> str:
        """Upload a template, in a dry run too: CloudFormation itself reads it. Nothing else comes of that."""
        if len(content) > LARGEST_TEMPLATE:
            raise WrongUsageError(
                f"a template has {len(content):,} bytes", f"CloudFormation takes at most {LARGEST_TEMPLATE:,}"
            )
        bucket = self._bucket()
        artifact = Artifact("templates", content, ".yaml")
        return self._aws.object_url(bucket, upload(self._aws, bucket, artifact, self._say))

    def _code(self, *, is_dry: bool) -> dict[str, str]:
        code = Artifact("lambda", self._request.build_code(), ".zip")
        if is_dry:  # the change set names the place only; CloudFormation reads it when it is carried out
            return {CODE_PLACE.bucket: self._bucket_name(), CODE_PLACE.key: code.key}
        bucket = self._bucket()
        return {CODE_PLACE.bucket: bucket, CODE_PLACE.key: upload(self._aws, bucket, code, self._say)}

    def _bucket_name(self) -> str:
        return self._request.artifacts_bucket or default_bucket(self._aws)

    def _bucket(self) -> str:
        bucket = self._bucket_name()
        if not self._is_bucket_ready:
            ensure_bucket(self._aws, bucket, self._say)
            self._is_bucket_ready = True
        return bucket

    def carry_out(self, change_set: ChangeSet, *, is_protected: bool) -> Iterator[StackEvent]:
        """Carry a change set out and give the events until it ended. Protected from its first moment on."""
        after = marks(self.stacks, change_set.stack_id)
        if is_protected:
            self.stacks.protect(change_set.stack_name, on=True)
        self.stacks.carry_out(change_set)
        yield from follow(self.stacks, change_set.stack_id, after)
