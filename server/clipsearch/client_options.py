"""How the verbs reach a server that guards itself: TLS and an API key, by option or environment."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click

if TYPE_CHECKING:
    import grpc

Command = TypeVar("Command", bound=Callable[..., Any])

_GIVEN = "clipsearch.access"
"""Key of the context's notes."""


class Access(TypedDict):
    """Arguments of ``Client`` and ``AsyncClient``."""

    credentials: "grpc.ChannelCredentials | None"
    api_key: str | None


def access_options(command: Command) -> Command:
    """Add the options; what they say is noted in the context, for ``access`` to read.

    They are no parameters of the verbs, which would all have to name them only to pass them on.
    """
    options = (
        ("--api-key", "CLIPSEARCH_API_KEY", "KEY", "Key to call with; the environment does not show it to `ps`."),
        ("--tls-key", "CLIPSEARCH_CLIENT_TLS_KEY", "FILE", "Private key to --tls-cert."),
        ("--tls-cert", "CLIPSEARCH_CLIENT_TLS_CERT", "FILE", "Certificate to show to a server that asks for one."),
        ("--tls-ca", "CLIPSEARCH_CLIENT_TLS_CA", "FILE", "Who signed the server's certificate; means --tls."),
        ("--tls/--no-tls", "CLIPSEARCH_CLIENT_TLS", None, "Call over TLS; without --tls-ca, believe well-known ones."),
    )
    for flag, variable, metavar, text in options:
        command = click.option(
            flag,
            metavar=metavar,
            default=None,
            envvar=variable,
            expose_value=False,
            callback=_note,
            help=f"{text} [{variable}]",
        )(command)
    return command


def _note(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    ctx.meta.setdefault(_GIVEN, {})[parameter.name] = value


def given_access() -> dict[str, str | bool]:
    """Return what the options of the running command say, in plain values."""
    noted = click.get_current_context().meta.get(_GIVEN, {})
    return {name: value for name, value in noted.items() if value is not None}


def access() -> Access:
    """Return the same as arguments of a client. Raises ClickException where it makes no credentials."""
    return access_of(given_access())


def access_of(given: Mapping[str, str | bool]) -> Access:
    """Make of the plain values what a client takes, as ``access``."""
    from clipsearch.client import tls_credentials

    api_key = f"{given['api_key']}" if "api_key" in given else None
    files = [f"{given[name]}" if name in given else None for name in ("tls_ca", "tls_cert", "tls_key")]
    if not given.get("tls", any(files)):
        return Access(credentials=None, api_key=api_key)
    try:
        return Access(credentials=tls_credentials(*files), api_key=api_key)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
