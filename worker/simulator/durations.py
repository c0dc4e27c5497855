"""Durations as providers write them."""


def go_duration(seconds: float) -> str:
    """As OpenAI and Groq write them: `20ms`, `1.898s`, `6m0s` (Go's time.Duration)."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    rest_s = f"{round(rest, 3):g}s"
    return f"{int(minutes)}m{rest_s}" if minutes else rest_s
