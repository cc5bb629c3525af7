"""Entry point of the image: becomes ``llm-audit serve -- vllm serve MODEL``, as the environment says.

The audit proxy listens on port 8000 and launches vLLM on 127.0.0.1:8001, where only it can reach it. This program
replaces itself by ``llm-audit`` (exec), which so is the container's first process and gets its signals. What it
checks is what ``llm-audit`` cannot know; every ``AUDIT_…`` variable is checked there.

``MODEL``      a folder of this image, such as /models/mistral8b, or a name on the Hugging Face hub
``VLLM_ARGS``  further options of ``vllm serve``, quoted as for a shell

Exit code 2, with one line on standard error, where a setting cannot be used.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

_UPSTREAM = "http://127.0.0.1:8001"
_LOOPBACK_ORIGIN = re.compile(r"http://127\.0\.0\.1:([0-9]{1,5})/?")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_CONFIGS = ("config.json", "params.json")
"""One of them is in every model that vLLM loads: Hugging Face's layout, Mistral's."""

_OURS = {
    "--host": "vLLM must listen where only the proxy reaches it",
    "--port": "set AUDIT_UPSTREAM=http://127.0.0.1:PORT to move vLLM",
    "--uds": "the proxy reaches vLLM over TCP",
    "--ssl-keyfile": "AUDIT_TLS_CERT and AUDIT_TLS_KEY encrypt where callers connect",
    "--ssl-certfile": "AUDIT_TLS_CERT and AUDIT_TLS_KEY encrypt where callers connect",
    "--": "only options of vllm serve are expected",
}
"""Words of VLLM_ARGS with which calls would go past the audit, or nowhere; and what to do instead."""


class SettingError(Exception):
    """A setting that cannot be used; the message names it, what came and what is expected."""


def command_line(environ: Mapping[str, str], words: Sequence[str]) -> list[str]:
    """Give the arguments of ``llm-audit`` that serve what the environment asks for. Raises SettingError.

    ``words`` is what the container was given as its command: there should be none.
    """
    if words:
        raise SettingError(f"got the command {words[0]!r}; expected none: options of vLLM go to VLLM_ARGS")
    if not environ.get("AUDIT_BUCKET"):
        raise SettingError(
            "AUDIT_BUCKET is not set; expected the bucket that keeps the records, such as central-llm-audit "
            "(a folder inside the container would end with it)"
        )
    model = _model(environ.get("MODEL", ""))
    options = _vllm_options(environ.get("VLLM_ARGS", ""))
    where = ["--host", "127.0.0.1", "--port", _port(environ.get("AUDIT_UPSTREAM") or _UPSTREAM)]
    # The last one of an option counts, so these stand behind whatever VLLM_ARGS may say in other words.
    return ["serve", "--", "vllm", "serve", model, *options, *where]


def _model(model: str) -> str:
    if model.startswith(("/", ".")):
        if not any((Path(model) / name).is_file() for name in _CONFIGS):
            raise SettingError(
                f"MODEL is {model!r}, where no model lies; expected a folder with {' or '.join(_CONFIGS)}: stage it in "
                "docker/ecr-build/models/ before the image is built, or mount it"
            )
    elif not _HUB_NAME.fullmatch(model):
        raise SettingError(
            f"MODEL is {model!r}; expected a folder such as /models/mistral8b, or a name such as mistralai/Ministral-8B"
        )
    return model


def _vllm_options(text: str) -> list[str]:
    try:
        options = shlex.split(text)
    except ValueError as error:
        # Not shown: there may be a key in it.
        raise SettingError(
            f"VLLM_ARGS cannot be read: {error}; expected options quoted as for a shell"
        ) from None
    for option in options:
        name = option.partition("=")[0].replace("_", "-")
        if name in _OURS:
            raise SettingError(f"VLLM_ARGS has {name}, which cannot be set: {_OURS[name]}")
    return options


def _port(upstream: str) -> str:
    match = _LOOPBACK_ORIGIN.fullmatch(upstream)
    if match is None:
        raise SettingError(
            f"AUDIT_UPSTREAM is {upstream!r}; expected {_UPSTREAM}, or another port: this image launches vLLM itself"
        )
    return match[1]


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the environment, in which a model that lies here is loaded without asking the hub about it."""
    offline = {"HF_HUB_OFFLINE": "1"} if environ.get("MODEL", "").startswith(("/", ".")) else {}
    return {**offline, **environ}


def main() -> NoReturn:
    """Become ``llm-audit``."""
    try:
        arguments = command_line(os.environ, sys.argv[1:])
    except SettingError as error:
        print(f"audit_proxy: {error}.", file=sys.stderr)
        sys.exit(2)
    # Found beside this interpreter: the environment that the image keeps apart from vLLM's.
    os.execve(sys.executable, [sys.executable, "-m", "llm_audit", *arguments], _environment(os.environ))


if __name__ == "__main__":
    main()
