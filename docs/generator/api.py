"""docs/api.md: services, RPCs and messages, linked to each other.

What only one RPC uses is described beneath it, so that a call can be understood without turning pages; what several
share comes at the end.
"""

import re
from collections.abc import Iterator

from docs.generator.protos import PACKAGE, Api, Enum, Field, Message, Method, Service

_ELSEWHERE = {
    "google.longrunning.Operation": "https://google.aip.dev/151",
    "google.protobuf.Struct": "https://protobuf.dev/reference/protobuf/google.protobuf/#struct",
    "google.protobuf.Timestamp": "https://protobuf.dev/reference/protobuf/google.protobuf/#timestamp",
    "google.rpc.Status": "https://google.aip.dev/193",
}


def api_reference(api: Api) -> str:
    """Return the whole reference as Markdown, headings from the second level on."""
    owners = _owners(api)
    parts = [_overview(api)]
    for service in api.services:
        parts.append(_service(api, service))
        for method in service.methods:
            parts.append(_method(api, method))
            parts += [_type_section(api, name) for name, owner in owners.items() if owner == method.name]
    shared = [name for name in api.types if owners.get(name) is None]
    parts.append("## Shared messages\n\nWhat more than one RPC takes or gives.\n")
    parts += [_type_section(api, name) for name in sorted(shared)]
    return "\n".join(parts)


def _overview(api: Api) -> str:
    lines = ["| RPC | | |", "| --- | --- | --- |"]
    for service in api.services:
        for method in service.methods:
            first = method.comment.text.split(". ")[0].rstrip(".")
            lines.append(f"| [{method.name}](#{method.name.lower()}) | {_shape(method)} | {_cell(api, first)} |")
    return "\n".join(lines) + "\n"


def _shape(method: Method) -> str:
    if method.request_stream and method.response_stream:
        return "stream both ways"
    if method.response == ".google.longrunning.Operation":
        return "long-running"
    return "stream down" if method.response_stream else "stream up" if method.request_stream else "unary"


def _service(api: Api, service: Service) -> str:
    lines = [f"## {service.name}", "", _prose(api, service.comment.text), "", _source(service.file), ""]
    for kind, named in service.comment.errors.items():
        lines += [f"*{kind} of every RPC here:* {_reasons(named)}", ""]
    return "\n".join(lines)


def _method(api: Api, method: Method) -> str:
    takes = f"{'stream of ' if method.request_stream else ''}{_type_link(api, method.request)}"
    gives = f"{'stream of ' if method.response_stream else ''}{_type_link(api, method.response)}"
    lines = [f"### {method.name}", "", _prose(api, method.comment.text), "", f"{takes} → {gives}", ""]
    for kind, named in method.comment.errors.items():
        lines += [f"*{kind}:* {_reasons(named)}", ""]
    return "\n".join(lines)


def _reasons(named: str) -> str:
    return re.sub(r"\b[A-Z]+(?:_[A-Z]+)*\b", lambda reason: f"[{reason[0]}](errors.md#{reason[0].lower()})", named)


def _type_section(api: Api, name: str) -> str:
    one = api.types[name]
    heading = f"#### {name}\n\n{_prose(api, one.comment)}\n"
    if isinstance(one, Enum):
        rows = [f"| `{value}` | {number} | {_cell(api, comment)} |" for value, number, comment in one.values]
        return "\n".join([heading, "| value | number | meaning |", "| --- | ---: | --- |", *rows, ""])
    if not one.fields:
        return f"{heading}\nIt has no fields.\n"
    return "\n".join([heading, "| field | type | meaning |", "| --- | --- | --- |", *_field_rows(api, one), ""])


def _field_rows(api: Api, message: Message) -> Iterator[str]:
    group = ""
    for one in message.fields:
        if one.oneof and one.oneof != group:
            yield f"| one of `{one.oneof}` | | {_cell(api, message.oneofs[one.oneof])} |"
        group = one.oneof
        indent = "· " if one.oneof else ""
        yield f"| {indent}`{one.name}` | {_field_type(api, one)} | {_cell(api, one.comment)} |"


def _field_type(api: Api, one: Field) -> str:
    link = _type_link(api, one.type)
    return f"map of string to {link}" if one.label == "map" else f"{one.label} {link}".strip()


def _type_link(api: Api, name: str) -> str:
    full = name.removeprefix(".")
    short = full.removeprefix(f"{PACKAGE}.")
    if short in api.types:
        return f"[{short}](#{short.lower()})"
    return f"[{full}]({_ELSEWHERE[full]})" if full in _ELSEWHERE else full


def _source(file: str) -> str:
    return f"Declared in [{file}](../proto/{PACKAGE.replace('.', '/')}/{file})."


def _prose(api: Api, text: str) -> str:
    """Link the messages, RPCs and pages that a comment names."""
    methods = {method.name for service in api.services for method in service.methods}

    def link(match: re.Match[str]) -> str:
        name = match[0]
        return f"[{name}](#{name.lower()})" if name in api.types or name in methods else name

    # Names of one word (Query, Item, Search) are words of the language too, so only those of two link.
    linked = re.sub(r"(?<![`\w.])[A-Z][a-z]+(?:[A-Z][a-z]+)+\b", link, text)
    return re.sub(r"\bdocs/(\w+\.md)", r"[\1](\1)", linked)


def _cell(api: Api, text: str) -> str:
    return _prose(api, text).replace("|", "\\|").replace("\n\n", " ")


def _owners(api: Api) -> dict[str, str | None]:
    """Return for each type the only RPC that reaches it, or None for those of several; what is reached first, first."""
    users: dict[str, list[str]] = {}
    for service in api.services:
        for method in service.methods:
            for name in _reached(api, method):
                users.setdefault(name, []).append(method.name)
    return {name: by[0] if len(by) == 1 else None for name, by in users.items()}


def _reached(api: Api, method: Method) -> list[str]:
    """The types that a method takes, gives or names in its comment (what an operation gives), and what is in them.

    Another method's request or response is that method's, with all that is in it.
    """
    of_others = {
        name for service in api.services for other in service.methods if other is not method for name in _ends(other)
    }
    waiting = [*_ends(method), *re.findall(r"\b[A-Z]\w+\b", method.comment.text)]
    reached: list[str] = []
    while waiting:
        name = waiting.pop(0)
        if name not in api.types or name in of_others or name in reached:
            continue
        reached.append(name)
        one = api.types[name]
        if isinstance(one, Message):
            waiting += [field.type.rpartition(".")[2] for field in one.fields]
    return reached


def _ends(method: Method) -> tuple[str, str]:
    return method.request.rpartition(".")[2], method.response.rpartition(".")[2]
