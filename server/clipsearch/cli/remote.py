"""What the verbs that ask a server share."""

import click

DEFAULT_SERVER = "127.0.0.1:50051"

server_option = click.option("--server", metavar="HOST:PORT", help=f"The server to ask. [default: {DEFAULT_SERVER}]")
"""``--server``; None when it is not given, so that a verb with another way to work can tell."""
