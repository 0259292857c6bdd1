"""The API as its proto files declare it, comments included: what docs/api.md is rendered from."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

ROOT = Path(__file__).parents[2]
PACKAGE = "clipsearch.v1"

# Numbers of fields in descriptor.proto: what the paths of comments are made of.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD, _ONEOF, _VALUE, _METHOD = 2, 8, 2, 2

_SCALARS = {value: name.removeprefix("TYPE_").lower() for name, value in FieldDescriptorProto.Type.items()}

Path_ = tuple[int, ...]


_ERRORS = re.compile(r"(Errors[\w ]*): (.*)")
"""A paragraph that names reasons: ``Errors: …``, ``Errors of an item: …``, ``Errors of the operation: …``."""


@dataclass(frozen=True, slots=True)
class Comment:
    """What a comment says, on one line per paragraph, and what its paragraphs of errors name, by their first words."""

    text: str
    errors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its type is a scalar's name, or a full name with a leading dot; ``oneof`` names its group."""

    name: str
    type: str
    label: str
    """``repeated``, ``optional``, ``map`` (of string to ``type``) or empty."""
    oneof: str
    comment: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message and its fields, in the order of the file; ``oneofs`` holds the comment of each group."""

    name: str
    file: str
    comment: str
    fields: Sequence[Field]
    oneofs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Enum:
    """An enum and its values: name, number and comment."""

    name: str
    file: str
    comment: str
    values: Sequence[tuple[str, int, str]]


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC; ``request`` and ``response`` are full names with a leading dot."""

    name: str
    comment: Comment
    request: str
    response: str
    request_stream: bool
    response_stream: bool


@dataclass(frozen=True, slots=True)
class Service:
    """A service; the errors of its comment go for all its RPCs."""

    name: str
    file: str
    comment: Comment
    methods: Sequence[Method]


@dataclass(frozen=True, slots=True)
class Api:
    """All that the proto files of the package declare."""

    services: list[Service] = field(default_factory=list)
    types: dict[str, Message | Enum] = field(default_factory=dict)
    """Messages and enums by name, without the package."""


def read_api() -> Api:
    """Compile proto/ and return what it declares. Needs grpcio-tools (the dev extra)."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "descriptors"
        command = ["sh", str(ROOT / "proto/generate.sh"), "--descriptors", str(file)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHON": sys.executable})
        compiled = FileDescriptorSet.FromString(file.read_bytes())
    api = Api()
    for proto in compiled.file:
        if proto.package == PACKAGE:
            _add(api, proto)
    return api


def _add(api: Api, proto: FileDescriptorProto) -> None:
    comments = {tuple(place.path): place.leading_comments for place in proto.source_code_info.location}
    file = Path(proto.name).name
    for i, enum in enumerate(proto.enum_type):
        api.types[enum.name] = _enum(enum, file, comments, (_ENUM, i))
    for i, message in enumerate(proto.message_type):
        api.types[message.name] = _message(message, file, comments, (_MESSAGE, i))
    for i, service in enumerate(proto.service):
        api.services.append(_service(service, file, comments, (_SERVICE, i)))


def _enum(enum: EnumDescriptorProto, file: str, comments: Mapping[Path_, str], path: Path_) -> Enum:
    values = [(value.name, value.number, _text(comments, (*path, _VALUE, i))) for i, value in enumerate(enum.value)]
    return Enum(enum.name, file, _text(comments, path), values)


def _message(message: DescriptorProto, file: str, comments: Mapping[Path_, str], path: Path_) -> Message:
    maps = {f".{PACKAGE}.{message.name}.{entry.name}": entry.field[1] for entry in message.nested_type}
    fields = []
    for i, one in enumerate(message.field):
        entry = maps.get(one.type_name)
        # A proto3 `optional` is a oneof of its own in the descriptor.
        grouped = one.HasField("oneof_index") and not one.proto3_optional
        fields.append(
            Field(
                name=one.name,
                type=_type(entry or one),
                label="map" if entry else _label(one),
                oneof=message.oneof_decl[one.oneof_index].name if grouped else "",
                comment=_text(comments, (*path, _FIELD, i)),
            )
        )
    oneofs = {one.name: _text(comments, (*path, _ONEOF, i)) for i, one in enumerate(message.oneof_decl)}
    return Message(message.name, file, _text(comments, path), fields, oneofs)


def _type(one: FieldDescriptorProto) -> str:
    return one.type_name or _SCALARS[one.type]


def _label(one: FieldDescriptorProto) -> str:
    if one.label == FieldDescriptorProto.LABEL_REPEATED:
        return "repeated"
    return "optional" if one.proto3_optional else ""


def _service(service: ServiceDescriptorProto, file: str, comments: Mapping[Path_, str], path: Path_) -> Service:
    methods = [
        Method(
            name=one.name,
            comment=_comment(comments, (*path, _METHOD, i)),
            request=one.input_type,
            response=one.output_type,
            request_stream=one.client_streaming,
            response_stream=one.server_streaming,
        )
        for i, one in enumerate(service.method)
    ]
    return Service(service.name, file, _comment(comments, path), methods)


def _text(comments: Mapping[Path_, str], path: Path_) -> str:
    return _comment(comments, path).text


def _comment(comments: Mapping[Path_, str], path: Path_) -> Comment:
    """Unwrap a comment's paragraphs, leave out what is for buf, and take the errors apart."""
    paragraphs: list[str] = []
    for line in _lines(comments.get(path, "")):
        if not paragraphs or not line or _ERRORS.match(line):
            paragraphs.append(line)
        else:
            paragraphs[-1] = f"{paragraphs[-1]} {line}".strip()
    errors = {match[1]: match[2] for text in paragraphs if (match := _ERRORS.match(text))}
    return Comment("\n\n".join(text for text in paragraphs if text and not _ERRORS.match(text)), errors)


def _lines(comment: str) -> Iterator[str]:
    return (line.strip() for line in comment.splitlines() if not line.strip().startswith("buf:lint:"))
