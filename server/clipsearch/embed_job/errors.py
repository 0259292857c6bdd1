"""Why a job can't go on where it stopped."""

from clipsearch.errors import ClipsearchError, Code


class JobChanged(ClipsearchError):
    """What an interrupted job began with is not what it is given now: another model, source or option."""

    code = Code.FAILED_PRECONDITION
    reason = "JOB_CHANGED"


class JobRunning(ClipsearchError):
    """Another process is writing the same output."""

    code = Code.ABORTED
    reason = "JOB_RUNNING"


class EngineLost(ClipsearchError):
    """The server went away in the middle of the stream; what was embedded is kept."""

    code = Code.UNAVAILABLE
    reason = "ENGINE_LOST"
    retryable = True
