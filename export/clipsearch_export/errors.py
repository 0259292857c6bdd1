"""What can go wrong in an export: one sentence each, for the person at the command line."""

from clipsearch.errors import ClipsearchError, Code


class ExportError(ClipsearchError):
    """The checkpoint cannot be exported, or what came out is not good enough to be kept."""

    code = Code.FAILED_PRECONDITION
    reason = "EXPORT_FAILED"
