"""The real AWS command line, imported once and forked for every call: run by ``.venv/awscli``'s Python.

``python aws_cli_server.py SOCKET``. Each connection brings arguments, working directory, environment and the caller's
three standard streams; its answer is the exit code. Ends with its standard input, which its starter holds. A call
costs a tenth of what starting the program does.
"""

import json
import os
import select
import signal
import socket
import sys
import traceback

import awscli.clidriver
import awscli.customizations.s3.subcommands
import botocore.auth
import botocore.endpoint
import botocore.httpsession
import botocore.waiter  # noqa: F401 - imported here, so that no call has to


def serve(path: str) -> None:
    """Fork a child for every connection, until the starter is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                run(connection)
            connection.close()


def run(connection: socket.socket) -> None:
    """Take over what the caller is, do its command, answer its exit code, end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    told = json.loads(message)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(told["cwd"])
    own = {"AWS_DATA_PATH": os.environ["AWS_DATA_PATH"]}  # set by the import of awscli: where its models lie
    os.environ.clear()
    os.environ.update(told["environ"] | own)
    sys.argv = ["aws", *told["arguments"]]
    if told["arguments"][:1] == [
        "sqs"
    ]:  # version 1 alone gives this service an old address of its own, past the variable
        sys.argv += ["--endpoint-url", told["environ"]["AWS_ENDPOINT_URL"]]
    code = 255
    try:
        code = awscli.clidriver.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 255
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(bytes([(code or 0) & 255]))
        os._exit(0)


if __name__ == "__main__":
    awscli.clidriver.create_clidriver()  # imports every plugin, which otherwise each call would do
    serve(sys.argv[1])
