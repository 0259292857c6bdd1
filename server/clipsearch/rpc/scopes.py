"""The scope that each method needs: the one table, which docs/security.md shows and a test holds complete."""

from collections.abc import Mapping

from clipsearch.access.scopes import Scope

HEALTH = "/grpc.health.v1.Health/"

SCOPES: Mapping[str, Scope] = {
    f"/{service}/{method}": scope
    for service, methods in {
        "clipsearch.v1.EmbeddingService": {
            "EmbedText": Scope.READ,
            "EmbedImage": Scope.READ,
            "BatchEmbed": Scope.READ,
            "StreamEmbed": Scope.READ,
            "GetModel": Scope.READ,
        },
        "clipsearch.v1.SearchService": {"Search": Scope.READ, "BatchSearch": Scope.READ},
        "clipsearch.v1.CatalogueService": {
            "GetItem": Scope.READ,
            "ListItems": Scope.READ,
            "GetFacets": Scope.READ,
            "ListCollections": Scope.READ,
            "GetCollectionStats": Scope.READ,
            "UpsertItems": Scope.WRITE,
            "DeleteItems": Scope.WRITE,
            "CreateCollection": Scope.ADMIN,
            "DeleteCollection": Scope.ADMIN,
            "RebuildIndex": Scope.ADMIN,
            "Snapshot": Scope.ADMIN,
            "ImportItems": Scope.ADMIN,
            "ExportItems": Scope.ADMIN,
        },
        "clipsearch.v1.ModelService": {
            "ReloadModel": Scope.ADMIN,
            "StageModel": Scope.ADMIN,
            "PromoteModel": Scope.ADMIN,
            "UnstageModel": Scope.ADMIN,
        },
        "google.longrunning.Operations": {
            "ListOperations": Scope.ADMIN,
            "GetOperation": Scope.ADMIN,
            "WaitOperation": Scope.ADMIN,
            "CancelOperation": Scope.ADMIN,
            "DeleteOperation": Scope.ADMIN,
        },
        "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": Scope.READ},
    }.items()
    for method, scope in methods.items()
}


def scope_of(method: str) -> Scope | None:
    """Return the scope that a method needs, by its full name (``/package.Service/Method``); None: open to everybody.

    Health is open, since load balancers hold no keys and learn nothing from it but whether to come. What the table does
    not know needs the most there is: forgetting a method must not open it.
    """
    if method.startswith(HEALTH):
        return None
    return SCOPES.get(method, Scope.ADMIN)


def markdown_table() -> str:
    """The table as docs/security.md shows it."""
    lines = ["| scope | methods |", "| --- | --- |"]
    for scope in Scope:
        methods = [method for method, needed in SCOPES.items() if needed is scope]
        services = dict.fromkeys(method.split("/")[1] for method in methods)
        for service in services:
            names = ", ".join(f"`{method.split('/')[2]}`" for method in methods if method.split("/")[1] == service)
            lines.append(f"| {scope.value} | {service}: {names} |")
    return "\n".join([*lines, "| none | grpc.health.v1.Health: all |"]) + "\n"
