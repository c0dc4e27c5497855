"""From the bytes of one response to what the attempt has produced; no I/O anywhere.

body (what kind of body is this) -> sse (bytes to events) -> chunks (events to typed chunks,
with `tolerant` for the odd ones) -> transcript (chunks to pieces, output and verdict)
"""
