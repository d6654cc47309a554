"""A timer in the kernel that ends this process at a moment, whatever state the process is in.

A grant must not outlast its end because nobody was there to look at a clock: the loop may be stuck, the process
stopped, the machine asleep. So the kernel is told beforehand: SIGKILL, by CLOCK_BOOTTIME, which goes on while a machine
sleeps. A stopped process gets that signal too, and PostgreSQL dies with its agent (`child`, and the container's PID
namespace).

Python has no call for it, hence ctypes; the structures are those of Linux on 64 bits.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time

_LIBC = ctypes.CDLL(None, use_errno=True)
_ABSOLUTE = 1
_SIGEV_SIGNAL = 0


class _Event(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * 48),
    )


class _Spec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


def boottime() -> float:
    """Seconds since the machine started, sleep included: the clock by which grants are counted here."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Deadman:
    """One timer. Raises OSError where the kernel has none."""

    def __init__(self) -> None:
        self._timer = ctypes.c_void_p()
        event = _Event(signo=signal.SIGKILL, notify=_SIGEV_SIGNAL)
        if _LIBC.timer_create(time.CLOCK_BOOTTIME, ctypes.byref(event), ctypes.byref(self._timer)) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self.at: float | None = None

    def set(self, at: float | None) -> None:
        """End this process at `at` (CLOCK_BOOTTIME; at once if that is past); None: not at all."""
        if at == self.at:
            return
        when = max(at, 1e-3) if at is not None else 0.0
        spec = _Spec(value_s=int(when), value_ns=int(when % 1 * 1e9))
        if _LIBC.timer_settime(self._timer, _ABSOLUTE, ctypes.byref(spec), None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self.at = at
