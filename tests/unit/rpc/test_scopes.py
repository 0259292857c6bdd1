"""The table of scopes is complete: what is served and not in it would need the admin scope, and this test tells why."""

from google.longrunning import operations_pb2
from grpc_reflection.v1alpha import reflection_pb2

from clipsearch.access.scopes import Scope
from clipsearch.rpc.scopes import SCOPES, scope_of
from clipsearch.v1 import catalogue_pb2, embedding_pb2, model_pb2, search_pb2

FILES = (catalogue_pb2, embedding_pb2, model_pb2, search_pb2, operations_pb2, reflection_pb2)


def methods() -> set[str]:
    return {
        f"/{service.full_name}/{method.name}"
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def test_every_method_has_a_scope_and_every_scope_a_method() -> None:
    assert set(SCOPES) == methods()


def test_what_changes_or_copies_whole_collections_is_for_administrators() -> None:
    admin = {method.rpartition("/")[2] for method, scope in SCOPES.items() if scope is Scope.ADMIN}
    jobs = {"RebuildIndex", "Snapshot", "ImportItems", "ExportItems"}
    jobs |= {"ReloadModel", "StageModel", "PromoteModel", "UnstageModel"}
    operations = {method.name for method in operations_pb2.DESCRIPTOR.services_by_name["Operations"].methods}
    assert admin == {"CreateCollection", "DeleteCollection"} | jobs | operations


def test_health_is_open_and_the_unknown_is_not() -> None:
    assert scope_of("/grpc.health.v1.Health/Check") is None
    assert scope_of("/clipsearch.v1.CatalogueService/ForgottenHere") is Scope.ADMIN
    assert scope_of("/clipsearch.v1.CatalogueService/UpsertItems") is Scope.WRITE
