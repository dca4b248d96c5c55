"""Several processes that are one server: forked together, stopped together; when one of them ends, all end.

A half server is worse than none: whoever started this process (a container platform, systemd) starts a whole one again.
The children find out by themselves when the parent is gone, even by SIGKILL: the pipe they all watch has no writer left.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping

from issuer.events import Emit, ProcessEnded

Child = Callable[[int], None]
"""What a child does, from its start to its end; it stops on SIGTERM, and when the descriptor it is given reads end-of-file."""

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
_LOOK_S = 0.05


def supervise(
    children: Mapping[str, Child],
    emit: Emit,
    *,
    patience_s: float,
    on_started: Callable[[], None],
    on_stopping: Callable[[], None],
) -> int:
    """Runs the children until SIGTERM, SIGINT or the end of one of them; the exit code of the whole.

    0: a signal came and all ended in order. 1: one ended by itself, or did not stop in `patience_s` and was killed. A second
    signal kills at once. Must be called before there is an event loop or a thread: it forks.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    watched, held = os.pipe()
    running: dict[int, str] = {}
    try:
        for name, child in children.items():
            running[_fork(child, watched, held, before)] = name
        on_started()
        code = 0
        while signal.sigwait(_SIGNALS) is signal.SIGCHLD:
            if _reap(running, emit, expected=False):
                code = 1
                break
        on_stopping()
        return max(code, _stop(running, emit, patience_s))
    finally:
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        os.close(watched)
        os.close(held)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _fork(child: Child, watched: int, held: int, mask: "set[int | signal.Signals]") -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.close(held)
        # A terminal's Ctrl-C goes to every process of the group: the parent turns it into SIGTERM for all.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        child(watched)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - the last frame of this process: nothing above may run twice
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reap(running: dict[int, str], emit: Emit, *, expected: bool) -> bool:
    """Takes note of those that have ended. Whether any has."""
    ended = False
    for pid in list(running):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended = True
            code = os.waitstatus_to_exitcode(status)
            name = running.pop(pid)
            if not expected or code:
                emit(ProcessEnded(name, code))
    return ended


def _stop(running: dict[int, str], emit: Emit, patience_s: float) -> int:
    """SIGTERM for all that run, SIGKILL for those that do not heed it in time, or after a second signal."""
    for pid in running:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while running:
        _reap(running, emit, expected=True)
        again = signal.sigpending() & {signal.SIGTERM, signal.SIGINT}
        if running and again:
            signal.sigwait(again)  # taken, or it would end this process before it can end the others
            return 130
        if running and time.monotonic() > deadline:
            return 1
        time.sleep(_LOOK_S)
    return 0
