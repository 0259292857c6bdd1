"""Front processes: gRPC's share of every call, on cores of its own.

Python runs one thread of a process at a time, and half of what a search costs is gRPC: HTTP/2, flow control, a call's
objects. A front process does that half. It listens on the server's port, and passes each call as it came to the process
with the lanes (the *engine*), and its answer back. It knows no model, no catalogue and no message: bytes in, bytes out.

    client ── HTTP/2 ──► front: ``child``, ``relay`` ── frames, socket pair ──► engine: ``processes``, ``calls``

Servicers and interceptors do not notice: ``calls`` gives them the same kind of context. All fronts listen on one port
(SO_REUSEPORT), where the kernel deals out connections. Figures and alternatives are in docs/decisions/0011-fronts.md.
"""
