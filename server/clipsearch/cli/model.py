"""``clipsearch reload`` and ``clipsearch reembed``: another model for a server that serves."""

from typing import TYPE_CHECKING

import click

from clipsearch.cli.remote import DEFAULT_SERVER, run_operation, server_option

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from clipsearch.v1.embedding_pb2 import Model

_BUNDLE = "BUNDLE is below the server's own `bundles` directory; without one it reads its `bundle` setting again."


@click.command(epilog=_BUNDLE)
@click.argument("bundle", default="")
@server_option
def reload(bundle: str, server: str | None) -> None:
    """Have a server serve BUNDLE, of the same weights, from now on: another precision, for example.

    No call fails meanwhile. Other weights need `clipsearch reembed`.
    """
    from clipsearch.v1 import model_pb2 as pb

    response = pb.ReloadModelResponse()
    _run(server, "ReloadModel", pb.ReloadModelRequest(bundle=bundle), response)
    if response.swapped:
        click.echo(f"serving {_told(response.model)}, instead of {_told(response.previous_model)}")
    else:
        click.echo(f"serving {_told(response.model)}, as before")


@click.group()
def reembed() -> None:
    """Move a server's collections to a model of other weights, while it serves: start, ingest, finish.

    Pictures and texts are not stored, so they are brought again, with `clipsearch ingest SOURCE --collection
    NAME@next` for each collection NAME. What is written to NAME meanwhile goes to both.
    """


@reembed.command(epilog=_BUNDLE)
@click.argument("bundle", default="")
@server_option
def start(bundle: str, server: str | None) -> None:
    """Load BUNDLE beside what serves, with an empty collection NAME@next for each collection NAME.

    After a restart of the server it goes on with what is there.
    """
    from clipsearch.v1 import model_pb2 as pb

    response = pb.StageModelResponse()
    _run(server, "StageModel", pb.StageModelRequest(bundle=bundle), response)
    click.echo(f"staged {_told(response.model)}; now bring the pictures and texts again:")
    for name in response.collections:
        click.echo(f"  clipsearch ingest SOURCE --collection {name}@next")
    click.echo("and then: clipsearch reembed finish")


@reembed.command()
@click.option("--allow-missing", is_flag=True, help="Also where items are missing, which are gone then.")
@server_option
def finish(allow_missing: bool, server: str | None) -> None:
    """Put the staged model and its collections in the places of those that serve, all at once."""
    from clipsearch.v1 import model_pb2 as pb

    response = pb.PromoteModelResponse()
    _run(server, "PromoteModel", pb.PromoteModelRequest(allow_missing=allow_missing), response)
    for one in response.collections:
        missing = f", {one.missing_items:,} missing" if one.missing_items else ""
        click.echo(f"{one.collection}: {one.items:,} items{missing}")
    click.echo(f"serving {_told(response.model)}, instead of {_told(response.previous_model)}")
    click.echo("The server's `bundle` setting must name this bundle before its next start.")


@reembed.command()
@server_option
def abandon(server: str | None) -> None:
    """Let go of the staged model and delete its collections; what serves goes on."""
    from clipsearch.v1 import model_pb2 as pb

    _run(server, "UnstageModel", pb.UnstageModelRequest(), pb.UnstageModelResponse())
    click.echo("nothing is staged")


def _run(server: str | None, method: str, request: "Message", response: "Message") -> None:
    from clipsearch.v1.model_pb2 import ModelJobMetadata
    from clipsearch.v1.model_pb2_grpc import ModelServiceStub

    run_operation(server or DEFAULT_SERVER, method, request, ModelJobMetadata(), response, service=ModelServiceStub)


def _told(model: "Model") -> str:
    return f"{model.source} ({model.precision}, {model.dimension} dimensions, weights {model.weight_hash[:12]})"
