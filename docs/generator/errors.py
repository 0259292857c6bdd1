"""docs/errors.md: every reason that the error tree has, with its status and whether trying again can help."""

from collections.abc import Iterator

from clipsearch.errors import ClipsearchError


def error_classes() -> list[type[ClipsearchError]]:
    """Return the classes of the tree with a reason of their own, parents first, in the order of the module."""
    return list(_tree(ClipsearchError))


def _tree(kind: type[ClipsearchError]) -> Iterator[type[ClipsearchError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == ClipsearchError.__module__:
            yield from _tree(child)


def errors_table() -> str:
    """Return the table, by status code and then as the module has them."""
    lines = ["| reason | status | again? | meaning |", "| --- | --- | --- | --- |"]
    for kind in sorted(error_classes(), key=lambda one: one.code.name):
        again = "yes" if kind.retryable else "no"
        reason = f'<a id="{kind.reason.lower()}"></a>`{kind.reason}`'
        lines.append(f"| {reason} | `{kind.code.name}` | {again} | {_meaning(kind)} |")
    return "\n".join(lines) + "\n"


def _meaning(kind: type[ClipsearchError]) -> str:
    """The first paragraph of the class's docstring; of the base class, whose docstring is for programmers, our own."""
    if kind is ClipsearchError:
        return "Unforeseen; the text is always the same, and the server's log has the rest."
    paragraph = (kind.__doc__ or "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("``", "`").replace("|", "\\|")
