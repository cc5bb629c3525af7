"""A worker: answers each connection on the shared socket with its process id; SIGTERM lets the current one finish."""

import os
import select
import signal
import socket
import sys
from pathlib import Path

reader, writer = os.pipe()
signal.signal(signal.SIGTERM, lambda *_: os.write(writer, b"x"))
listener = socket.socket(fileno=int(sys.argv[2]))
Path(sys.argv[1] + ".ready").touch()
connection = None
while True:
    waiting = [reader, sys.stdin, connection] if connection else [reader, sys.stdin, listener]
    ready = select.select(waiting, [], [])[0]
    if sys.stdin in ready or reader in ready:
        break
    if connection:
        connection.recv(10)
        connection.close()
        connection = None
        continue
    try:
        connection = listener.accept()[0]
    except BlockingIOError:
        continue
    connection.sendall(b"%d\n" % os.getpid())
Path(sys.argv[1] + ".draining").touch()
if connection:
    connection.recv(10)
    connection.sendall(b"finished\n")
with Path(sys.argv[1] + ".ended").open("a") as file:
    file.write("drained\n")
