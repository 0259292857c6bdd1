"""From a row's values to a record: which column is what."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clipsearch.errors import InvalidInput
from clipsearch.fetch import is_url
from clipsearch.ingest.reasons import BadRecord
from clipsearch.ingest.records import (
    MAX_URI_BYTES,
    FilePicture,
    Found,
    InlinePicture,
    Picture,
    Record,
    Unusable,
    UrlPicture,
)

ID_NAMES = ("id", "item_id", "product_id", "sku", "key", "uid")
IMAGE_NAMES = (
    *("image", "images", "image_path", "image_paths", "image_url", "image_urls", "image_link", "picture", "pictures"),
    *("photo", "photos", "img", "file", "file_name", "filename", "path", "url"),
)
URI_NAMES = ("uri",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What the caller says about columns; None, or an empty tuple, leaves it to their names.

    ``metadata`` None: all other columns. ``separator`` cuts a text with several pictures.
    """

    id: str | None = None
    images: tuple[str, ...] = ()
    text: str | None = None
    uri: str | None = None
    metadata: tuple[str, ...] | None = None
    separator: str | None = None
    recheck_urls: bool = False

    def resolve(self, names: Iterable[str], where: str, *, needs_content: bool = True) -> "Columns":
        """Find the columns among ``names``; raises InvalidInput that lists them where one is not there."""
        there = list(names)
        for name in (self.id, *self.images, self.text, self.uri, *(self.metadata or ())):
            if name is not None and name not in there:
                raise InvalidInput(f"{where} has no column {name!r}; it has {_listed(there)}", field="source")
        item_id = self.id or _first(ID_NAMES, there)
        images = self.images or tuple(filter(None, [_first(IMAGE_NAMES, there) if self.text is None else None]))
        if needs_content and item_id is None:
            raise InvalidInput(f"name the id with --id-column: {where} has the columns {_listed(there)}")
        if needs_content and not images and self.text is None:
            raise InvalidInput(
                f"name the pictures with --image-column, or a text with --text-column: {where} has the columns "
                f"{_listed(there)}"
            )
        return Columns(item_id, images, self.text, self.uri or _first(URI_NAMES, there), self)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one table, found."""

    id: str | None
    images: tuple[str, ...]
    text: str | None
    uri: str | None
    mapped: Mapped

    @property
    def texts(self) -> frozenset[str]:
        """Columns whose values stay as they are written, whatever they look like."""
        return frozenset(filter(None, (self.id, *self.images, self.text, self.uri)))

    def record(self, where: str, item_id: str, values: Mapping[str, object], base: Path) -> Found:
        """Make the record of a row; paths are relative to ``base``."""
        try:
            pictures = tuple(self._pictures(item_id, values, base))
        except BadRecord as error:
            return Unusable(where, item_id, error)
        return Record(where, item_id, pictures, self.words(values), None, self.metadata(values), self.uri_of(values))

    def item_id(self, values: Mapping[str, object]) -> str | None:
        """Return a row's id; raises BadRecord where it is neither a text nor a whole number."""
        value = values.get(self.id) if self.id is not None else None
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise BadRecord("ID_NOT_USABLE", f"the id {value!r} is neither a text nor a whole number")
        return value

    def words(self, values: Mapping[str, object]) -> str | None:
        """Return the text that stands for an item."""
        value = values.get(self.text) if self.text is not None else None
        return None if value is None or value == "" else f"{value}"

    def metadata(self, values: Mapping[str, object]) -> dict[str, object]:
        """Return what is kept of a row as metadata; null is nothing, and so is NaN, which stands for it in tables."""
        wanted = self.mapped.metadata
        if wanted is None:
            names: Iterable[str] = (name for name in values if name not in {self.id, *self.images, self.text, self.uri})
        else:
            names = wanted
        found = {name: values.get(name) for name in names}
        # NaN is what is not equal to itself.
        return {name: value for name, value in found.items() if value is not None and value == value}  # noqa: PLR0124

    def uri_of(self, values: Mapping[str, object]) -> str:
        """Return the uri: that of its column, or else the first path or URL of a picture."""
        given = values.get(self.uri) if self.uri is not None else None
        if given is None or given == "":
            given = next((part for name in self.images for part in self._parts(values.get(name)) if part), "")
        return given if isinstance(given, str) and len(given.encode(errors="replace")) <= MAX_URI_BYTES else ""

    def _pictures(self, item_id: str, values: Mapping[str, object], base: Path) -> Iterable[Picture]:
        for name in self.images:
            for part in self._parts(values.get(name)):
                yield self._picture(item_id, part, base)

    def _parts(self, value: object) -> Iterable[object]:
        """The pictures in one cell: a text, a text cut by the separator, a list, or bytes with or without a path."""
        if value is None or value == "":
            return ()
        if isinstance(value, list | tuple):
            return [part for part in value if part is not None and part != ""]
        if isinstance(value, str) and self.mapped.separator:
            return [part.strip() for part in value.split(self.mapped.separator) if part.strip()]
        return (value,)

    def _picture(self, item_id: str, value: object, base: Path) -> Picture:
        if isinstance(value, Mapping):  # {"bytes": …, "path": …}, as data sets with pictures in them have it
            inner = value.get("bytes")
            value = value.get("path") if inner is None else inner
        if isinstance(value, bytes):
            return InlinePicture(value, f"the picture of {item_id!r}")
        if not isinstance(value, str):
            raise BadRecord("PICTURE_NOT_USABLE", f"{value!r} is no path, URL or picture")
        if is_url(value):
            return UrlPicture(value, self.mapped.recheck_urls)
        return FilePicture(base / value.replace("\\", "/"), value)


def _first(candidates: Iterable[str], names: Iterable[str]) -> str | None:
    """The first candidate that is a column, by its own spelling."""
    spelt = {name.lower(): name for name in reversed(list(names))}
    return next((spelt[name] for name in candidates if name in spelt), None)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
