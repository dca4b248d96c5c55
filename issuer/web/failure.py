"""The event of an error of ours: its type and place in our code, never its message, which may quote a value."""

import traceback

from issuer.events import RequestFailed


def request_failed(path: str, error: BaseException) -> RequestFailed:
    """What is noticed of an unexpected exception."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/issuer/" in frame.filename] or frames
    where = f"{ours[-1].filename.rpartition('/issuer/')[2]}:{ours[-1].lineno}" if ours else ""
    return RequestFailed(path, type(error).__name__, where)
