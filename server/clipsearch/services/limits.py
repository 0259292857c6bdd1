"""What a request may ask for."""

from dataclasses import dataclass

from clipsearch.errors import BatchTooLarge, EmptyText, NprobeOutOfRange, SearchTooDeep, TextTooLarge, TopKOutOfRange


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Caps checked before any work is done. Image limits live in the preprocessor, which reads the header."""

    max_text_bytes: int
    max_top_k: int
    max_search_depth: int
    max_batch_items: int

    def check_text(self, text: str) -> None:
        """Raise EmptyText for a blank text and TextTooLarge for one over ``max_text_bytes`` of UTF-8."""
        if not text or text.isspace():
            raise EmptyText("the text is empty", field="text")
        # A character takes at most four bytes, so short texts need not be encoded to be measured.
        if len(text) * 4 > self.max_text_bytes and (size := len(text.encode())) > self.max_text_bytes:
            raise TextTooLarge(
                f"the text has {size} bytes, over the limit of {self.max_text_bytes}",
                field="text",
                metadata={"limit_bytes": str(self.max_text_bytes), "bytes": str(size)},
            )

    def check_top_k(self, top_k: int) -> None:
        """Raise TopKOutOfRange unless 1 <= top_k <= max_top_k."""
        if not 1 <= top_k <= self.max_top_k:
            raise TopKOutOfRange(
                f"top_k is {top_k}, but must be from 1 to {self.max_top_k}",
                field="top_k",
                metadata={"top_k": str(top_k), "max_top_k": str(self.max_top_k)},
            )

    def check_batch(self, count: int, field: str) -> None:
        """Raise BatchTooLarge for more than ``max_batch_items`` items."""
        if count > self.max_batch_items:
            raise BatchTooLarge(
                f"the batch has {count} items, over the limit of {self.max_batch_items}",
                field=field,
                metadata={"limit": str(self.max_batch_items), "items": str(count)},
            )


def check_reach(reach: int, max_k: int) -> None:
    """Raise SearchTooDeep for a search that has to see more hits than its index gives, those excluded among them."""
    if reach > max_k:
        raise SearchTooDeep(
            f"top_k and exclude_ids together are {reach}, and this index gives no more than {max_k} hits",
            field="top_k",
            metadata={"depth": str(reach), "max_search_depth": str(max_k)},
        )


def check_nprobe(nprobe: int, max_nprobe: int) -> None:
    """Raise NprobeOutOfRange for more lists than an index has, or none."""
    exact = max_nprobe == 1  # visits everything anyway, so any positive number is right
    if nprobe < 1 or (nprobe > max_nprobe and not exact):
        raise NprobeOutOfRange(
            f"nprobe is {nprobe}, but must be from 1 to {max_nprobe}",
            field="nprobe",
            metadata={"nprobe": str(nprobe), "max_nprobe": str(max_nprobe)},
        )
