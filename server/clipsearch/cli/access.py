"""How the verbs reach a server that guards itself: TLS and an API key, by option or environment."""

from collections.abc import Callable
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


def access() -> Access:
    """Return what the options of the running command say. Raises ClickException where they make no credentials."""
    from clipsearch.client import tls_credentials

    given = click.get_current_context().meta.get(_GIVEN, {})
    api_key, tls = given.get("api_key"), given.get("tls")
    files = given.get("tls_ca"), given.get("tls_cert"), given.get("tls_key")
    if tls is False or (tls is None and not any(files)):
        return Access(credentials=None, api_key=api_key)
    try:
        return Access(credentials=tls_credentials(*files), api_key=api_key)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
