"""What damage is done to: a good picture of every format and mode, and a good request of every method."""

import io

import numpy as np
from google.longrunning import operations_pb2
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from PIL import Image

from clipsearch.v1 import catalogue_pb2, common_pb2, embedding_pb2, search_pb2

from .served import DIMENSION, embedding


def pictures() -> dict[str, bytes]:
    """Encoded pictures by what they are."""
    smooth = np.add.outer(np.arange(48), np.arange(64))[..., None] * np.array([1, 2, 3])
    rgb = Image.fromarray((smooth % 256).astype(np.uint8))
    grey, palette, rgba = rgb.convert("L"), rgb.convert("P"), rgb.convert("RGBA")
    rgba.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) << 8)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [palette.rotate(90), palette.rotate(180)]}
    return {
        "JPEG": _saved(rgb, "JPEG", exif=exif),
        "progressive JPEG": _saved(rgb, "JPEG", progressive=True),
        "CMYK JPEG": _saved(rgb.convert("CMYK"), "JPEG"),
        "PNG": _saved(rgb, "PNG"),
        "PNG with alpha": _saved(rgba, "PNG"),
        "PNG with palette": _saved(palette, "PNG", transparency=3),
        "PNG of 16 bits": _saved(deep, "PNG"),
        "GIF": _saved(palette, "GIF"),
        "animated GIF": _saved(palette, "GIF", **frames),
        "lossy WebP": _saved(rgb, "WEBP"),
        "lossless WebP": _saved(rgba, "WEBP", lossless=True),
        "animated WebP": _saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        "BMP": _saved(rgb, "BMP"),
        "TIFF": _saved(rgb, "TIFF"),
        "LZW TIFF": _saved(rgb, "TIFF", compression="tiff_lzw"),
        "JPEG TIFF": _saved(rgb, "TIFF", compression="jpeg"),
    }


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def requests() -> dict[str, list[Message]]:
    """Good requests by method, some of them of several kinds. Nothing in them waits for a long time."""
    picture = pictures()["JPEG"]
    vector = embedding(np.eye(DIMENSION, dtype=np.float32)[0])
    text = search_pb2.Query(text="a red dress")
    item = catalogue_pb2.UpsertItem(id="fuzz-1", vector=vector, uri="file:///nowhere")
    item.metadata.update({"title": "A dress", "price": 12.5, "sizes": ["s", "m"], "in_stock": True, "maker": {"id": 3}})
    shown = catalogue_pb2.UpsertItem(id="fuzz-2", images=catalogue_pb2.Images(images=[picture]))
    narrow = search_pb2.SearchRequest(
        query=text, filter="price < 50 AND title:*", exclude_ids=["fuzz-2"], min_score=0.1
    )
    shaped = search_pb2.SearchRequest(query=text, offset=2, group_by="price", collapse_above=0.9, nprobe=2)
    composed = search_pb2.SearchRequest(
        terms=[
            search_pb2.WeightedQuery(query=text, weight=0.7),
            search_pb2.WeightedQuery(query=search_pb2.Query(vector=vector), weight=-0.2),
        ],
        view=search_pb2.VIEW_FULL,
    )
    inputs = [embedding_pb2.EmbedInput(text="blue boots"), embedding_pb2.EmbedInput(image=picture)]
    catalogue, embed, search = (f"/clipsearch.v1.{name}Service/" for name in ("Catalogue", "Embedding", "Search"))
    operations = "/google.longrunning.Operations/"
    return {
        f"{embed}EmbedText": [embedding_pb2.EmbedTextRequest(text="a red dress", priority=common_pb2.PRIORITY_BULK)],
        f"{embed}EmbedImage": [embedding_pb2.EmbedImageRequest(image=picture)],
        f"{embed}BatchEmbed": [embedding_pb2.BatchEmbedRequest(inputs=inputs)],
        f"{embed}GetModel": [embedding_pb2.GetModelRequest()],
        f"{search}Search": [
            search_pb2.SearchRequest(query=text, top_k=5),
            search_pb2.SearchRequest(query=search_pb2.Query(vector=vector), view=search_pb2.VIEW_METADATA),
            search_pb2.SearchRequest(query=search_pb2.Query(item_id="fuzz-1"), min_sequence_number=1),
            narrow,
            shaped,
            composed,
        ],
        f"{search}BatchSearch": [search_pb2.BatchSearchRequest(requests=[narrow, composed])],
        f"{catalogue}UpsertItems": [
            catalogue_pb2.UpsertItemsRequest(items=[item]),
            catalogue_pb2.UpsertItemsRequest(items=[item, shown], request_id="once"),
        ],
        f"{catalogue}DeleteItems": [catalogue_pb2.DeleteItemsRequest(ids=["fuzz-1", "fuzz-2"])],
        f"{catalogue}GetItem": [catalogue_pb2.GetItemRequest(id="fuzz-1", view=catalogue_pb2.ITEM_VIEW_FULL)],
        f"{catalogue}ListItems": [catalogue_pb2.ListItemsRequest(page_size=3, filter="price < 50", page_token="next")],
        f"{catalogue}GetFacets": [catalogue_pb2.GetFacetsRequest(fields=["price", "title"], filter="price > 1")],
        f"{catalogue}GetCollectionStats": [catalogue_pb2.GetCollectionStatsRequest()],
        f"{catalogue}ListCollections": [catalogue_pb2.ListCollectionsRequest()],
        f"{catalogue}Snapshot": [catalogue_pb2.SnapshotRequest(name="../out", collections=["default"])],
        f"{catalogue}ImportItems": [catalogue_pb2.ImportItemsRequest(path="/etc/passwd")],
        f"{catalogue}ExportItems": [catalogue_pb2.ExportItemsRequest(path="../out.parquet")],
        f"{operations}GetOperation": [operations_pb2.GetOperationRequest(name="operations/none")],
        f"{operations}ListOperations": [operations_pb2.ListOperationsRequest(page_size=5)],
        f"{operations}CancelOperation": [operations_pb2.CancelOperationRequest(name="operations/none")],
        "/grpc.health.v1.Health/Check": [health_pb2.HealthCheckRequest(service="clipsearch.v1.SearchService")],
    }
