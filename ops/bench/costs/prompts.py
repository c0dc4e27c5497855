"""What is asked, of an upstream that answers one token at once."""

EMPTY = "sim?tokens=1&rate=0&ttft=0"


def body(number: int, model: str = EMPTY) -> dict[str, object]:
    """The body of a request; those of two numbers differ."""
    message = {"role": "user", "content": f"Say in one word what number {number} brings to mind."}
    return {"model": model, "messages": [message]}
