"""What can go wrong with AWS, as one error of ours with advice. A vendor's error stops here.

``aws_errors`` wraps whatever talks to AWS; what comes out of it is a ``DeployError``. Pure but for botocore's types.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


class DeployError(Exception):
    """AWS did not do what was asked; the message says what came. ``advice`` says what to do."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class WrongUsageError(DeployError):
    """What was asked cannot be meant: a parameter that the template lacks, a name that AWS does not allow."""


class AwsMissingError(WrongUsageError):
    """boto3, from the extra ``aws``, is not installed."""


_CREDENTIALS = "sign in (`aws sso login`, `aws configure`) or set AWS_PROFILE, or the AWS_ACCESS_KEY_ID pair"
_ADVICE = {
    "AccessDenied": "give the identity that runs this the named permission; docs/aws.md lists what is needed",
    "AccessDeniedException": "give the identity that runs this the named permission; docs/aws.md lists what is needed",
    "UnauthorizedOperation": "give the identity that runs this the named permission",
    "ExpiredToken": _CREDENTIALS,
    "ExpiredTokenException": _CREDENTIALS,
    "InvalidClientTokenId": _CREDENTIALS,
    "UnrecognizedClientException": _CREDENTIALS,
    "SignatureDoesNotMatch": "check the secret key, and this machine's clock (AWS refuses 5 minutes of difference)",
    "RequestTimeTooSkewed": "set this machine's clock; use NTP",
    "Throttling": "wait a minute and run the same command again: it goes on where it was",
    "InsufficientCapabilitiesException": "this is a fault of llm-audit: it passes what the template asks for",
    "AlreadyExistsException": "look with `llm-audit aws status`; another deployment may run",
    "OperationInProgressException": "another operation runs on the stack: `llm-audit aws status --follow`",
}


def require_boto3() -> None:
    """Raise AwsMissingError, saying how to install it, where boto3 is absent."""
    if find_spec("boto3") is None:
        raise AwsMissingError(
            "boto3 is not installed, which everything on AWS but the object store needs",
            "pip install 'central-llm-audit[aws]'",
        )


@contextmanager
def aws_errors() -> Iterator[None]:
    """Turn botocore's errors into DeployError with advice."""
    require_boto3()
    from botocore.exceptions import (  # noqa: PLC0415 - boto3 is an extra: only who talks to AWS needs it
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        NoRegionError,
        ParamValidationError,
        PartialCredentialsError,
        ProfileNotFound,
        ReadTimeoutError,
    )

    try:
        yield
    except ClientError as error:
        raise from_client_error(error) from None
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise DeployError(f"AWS credentials: {error}", _CREDENTIALS) from None
    except (NoRegionError, ProfileNotFound, ParamValidationError) as error:
        raise WrongUsageError(str(error), "set AWS_REGION, AWS_PROFILE or the flags") from None
    except ReadTimeoutError as error:
        raise DeployError(f"AWS did not answer in time: {error}", _ADVICE["Throttling"]) from None
    except BotoCoreError as error:
        raise DeployError(
            f"AWS cannot be reached: {error}", "check the network, AWS_REGION and AWS_ENDPOINT_URL"
        ) from None


def error_code(error: ClientError) -> str:
    """Give AWS's code of an error, such as ``NoSuchBucket``; where a HEAD answered, its status as text."""
    return str(_error(error).get("Code", ""))


def error_message(error: ClientError) -> str:
    """Give AWS's words."""
    return str(_error(error).get("Message", ""))


def _error(error: ClientError) -> dict[str, Any]:
    response: Any = error.response
    found = response.get("Error", {})
    return found if isinstance(found, dict) else {}


def from_client_error(error: ClientError) -> DeployError:
    """Give our error for AWS's: the operation, the code, the words, and what to do."""
    code = error_code(error)
    operation = error.operation_name
    return DeployError(f"{operation}: {code}: {error_message(error)}", _ADVICE.get(code, ""))
