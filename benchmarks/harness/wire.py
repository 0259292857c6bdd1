"""gRPC requests as a plain HTTP/2 client sends them."""

from google.protobuf.message import Message

EMBED_TEXT = "/clipsearch.v1.EmbeddingService/EmbedText"
EMBED_IMAGE = "/clipsearch.v1.EmbeddingService/EmbedImage"
BATCH_EMBED = "/clipsearch.v1.EmbeddingService/BatchEmbed"
SEARCH = "/clipsearch.v1.SearchService/Search"
GET_MODEL = "/clipsearch.v1.EmbeddingService/GetModel"

HEADERS = {"content-type": "application/grpc", "te": "trailers"}


def frame(message: Message) -> bytes:
    """Return the message as a request body: no compression, four bytes of length, the message.

    "Length-Prefixed-Message" of gRPC's PROTOCOL-HTTP2.md.
    """
    data = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data
