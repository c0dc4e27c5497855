"""Plays the steps of one response into a transport."""

import asyncio
import math
import socket
import struct
import time
from collections.abc import Callable
from typing import assert_never

from worker.simulator.record import Entry
from worker.simulator.steps import End, Event, Flush, Head, Step, Steps, Wait

_BURST = 64
"""Events written before other streams get their turn."""

_FLUSH_POLL_S = 0.005

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER switched on with a timeout of 0: closing sends RST."""


class Player:
    """Pulls steps and acts on them: writes, sleeps, ends.

    `due` is the time the current step was scheduled for. Waits add to it, not to the clock, so a
    late wake-up is made good by the next. While the socket is full no step is pulled.

    Args:
        steps: the response.
        head: makes the bytes of status line and headers.
        entry: is told what was written, or None for requests that are not recorded.
        on_end: called once when the response is over and the connection still open.
    """

    def __init__(
        self,
        steps: Steps,
        head: Callable[[Head], bytes],
        entry: Entry | None,
        loop: asyncio.AbstractEventLoop,
        on_end: Callable[[], None],
    ) -> None:
        self._steps = steps
        self._head = head
        self._entry = entry
        self._loop = loop
        self._on_end = on_end
        self._due_s = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._asleep = self._paused = self._over = self._chunked = False
        self._until_close = False

    def start(self, transport: asyncio.Transport) -> None:
        """Play until the first wait."""
        self._transport = transport
        self._play()

    def pause(self) -> None:
        """The socket is full."""
        self._paused = True

    def resume(self) -> None:
        """The socket takes bytes again."""
        self._paused = False
        if not self._asleep:
            self._play()

    def wake(self) -> None:
        """A wait is over."""
        self._asleep = False
        if not self._paused:
            self._play()

    def abandon(self, end: End) -> None:
        """The connection is gone, or is about to be."""
        if self._timer is not None:
            self._timer.cancel()
        self._finish(end)

    def _play(self) -> None:
        burst = _BURST
        while not (self._paused or self._asleep or self._over):
            step: Step = next(self._steps, End.CLEAN)
            if isinstance(step, Event):
                self._write(step)
                burst -= 1
                if burst == 0:
                    self._yield_turn()
            else:
                self._act(step)

    def _act(self, step: Head | Wait | Flush | End) -> None:
        match step:
            case Wait(seconds):
                self._sleep(seconds)
            case Head():
                self._begin(step)
            case Flush():
                self._yield_turn()
            case End():
                self._end(step)
            case _:
                assert_never(step)

    def _begin(self, head: Head) -> None:
        self._until_close = head.until_close
        self._chunked = head.length is None and not head.until_close
        self._transport.write(self._head(head))
        if self._entry is not None:
            self._entry.head(head.status)

    def _write(self, event: Event) -> None:
        data = event.data
        if self._chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._transport.write(data)
        if self._entry is not None:
            self._entry.wrote(event)

    def _sleep(self, seconds: float) -> None:
        self._due_s += seconds
        delay_s = self._due_s - time.monotonic()
        if delay_s <= 0:
            return
        self._asleep = True
        if math.isfinite(delay_s):
            # A timer each: a wheel shared by all streams was no faster, the writes cost far more.
            self._timer = self._loop.call_later(delay_s, self.wake)

    def _yield_turn(self) -> None:
        self._asleep = True
        self._loop.call_soon(self.wake)

    def _end(self, end: End) -> None:
        if end is End.RST:
            self._reset()
        elif end is End.FIN or self._until_close:
            self._finish(end)
            self._transport.close()
        else:
            if self._chunked:
                self._transport.write(b"0\r\n\r\n")
            self._finish(end)
            self._on_end()

    def _reset(self) -> None:
        # A reset drops what the transport still holds, yet the record says that it was written.
        # What the kernel holds for a slow reader is lost all the same, as with any real reset.
        if self._over:
            return
        if self._transport.get_write_buffer_size() > 0:
            self._asleep = True
            self._timer = self._loop.call_later(_FLUSH_POLL_S, self._reset)
            return
        self._finish(End.RST)
        peer: socket.socket = self._transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    def _finish(self, end: End) -> None:
        if self._over:
            return
        self._over = True
        if self._entry is not None:
            self._entry.ended(end)
