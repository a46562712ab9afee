"""The address on which a server of this package listens."""

import errno
import socket

from xtcav_ml.system.errors import UserError


def address(host: str, port: int) -> str:
    """Return host and port as an address of a page names them: an IPv6 address is in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address of this machine; raises UserError if that is none, or taken."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
        key, value, expected = (
            ("--port", port, "a free port") if taken else ("--host", host, "an address of this machine")
        )
        raise UserError(
            f"{key}: {value} cannot be used (found {error.strerror!r}, expected {expected}). Fix: name another"
        ) from None
