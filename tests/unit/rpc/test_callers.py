"""Who is taken to be the caller."""

from contextvars import copy_context

import pytest

from clipsearch.rpc.callers import Caller, name_by_header, name_by_key


class Context:
    """What is asked of gRPC's."""

    def __init__(self, peer: str) -> None:
        self.asked = 0
        self._peer = peer

    def peer(self) -> str:
        self.asked += 1
        return self._peer


def caller(context: Context) -> Caller:
    return Caller(context)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("ipv4:10.0.0.7:50123", "ipv4:10.0.0.7"),
        ("ipv6:%5B::1%5D:41234", "ipv6:%5B::1%5D"),
        ("unix:", "unix:"),
        ("unix:/run/a:b.sock", "unix:/run/a:b.sock"),
    ],
)
def test_without_a_name_it_is_the_address_without_the_port(peer: str, name: str) -> None:
    assert caller(Context(peer))() == name


def test_grpc_is_asked_once_and_only_when_somebody_wants_to_know() -> None:
    context = Context("ipv4:10.0.0.7:50123")
    who = caller(context)
    assert context.asked == 0
    assert who() == who()
    assert context.asked == 1


def test_a_key_s_name_counts_more_and_a_trusted_header_most() -> None:
    def named() -> list[str]:
        name_by_key("shop")
        names = [caller(Context("ipv4:10.0.0.7:1"))()]
        name_by_header((("other", "x"), ("x-tenant", b"bytes"), ("x-tenant", "blue")), "x-tenant")
        return [*names, caller(Context("ipv4:10.0.0.7:1"))()]

    assert copy_context().run(named) == ["shop", "blue"]
