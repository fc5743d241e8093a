"""Cuts a Python process off the network: put this folder on PYTHONPATH. What it tried is noted in $NO_NETWORK_LOG.

Connections within the machine stay: processes talk to each other over them.
"""

import os
import socket
import sys

LOCAL = ("127.", "::1", "localhost", "0.0.0.0")  # noqa: S104  compared with, not bound to
connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


def refuse(what):
    with open(os.environ["NO_NETWORK_LOG"], "a", encoding="utf-8") as log:  # noqa: PTH123  as little as can be imported
        log.write(f"{what} by {sys.argv}\n")
    raise OSError(101, "Network is unreachable")


def is_local(address):
    return not isinstance(address, tuple) or str(address[0]).startswith((*LOCAL, socket.gethostname()))


def guarded(original):
    def call(self, address):
        return original(self, address) if is_local(address) else refuse(address)

    return call


def guarded_getaddrinfo(host, *rest, **options):
    name = host.decode() if isinstance(host, bytes) else host
    return getaddrinfo(host, *rest, **options) if name is None or is_local((name,)) else refuse(name)


socket.socket.connect, socket.socket.connect_ex = guarded(connect), guarded(connect_ex)
socket.getaddrinfo = guarded_getaddrinfo
