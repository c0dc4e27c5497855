"""The estimate is rough, never zero for a request, and never an exception."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.limiter import estimated_tokens

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


def body(content: object, **more: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


@pytest.mark.parametrize(
    ("request_body", "tokens"),
    [
        (body("x" * 400, max_tokens=50), 100 + 4 + 50),
        (body("x" * 400, max_completion_tokens=70, max_tokens=50), 100 + 4 + 70),
        (body("x" * 400), 100 + 4 + 1_000),
        (body("x" * 400, max_tokens=50, n=3), 100 + 4 + 150),
        (body([{"type": "text", "text": "x" * 40}], max_tokens=1), 10 + 4 + 1),
        (body(None, max_tokens=1), 4 + 1),
        (body("", max_tokens=1, tools=[{"name": "x" * 36}]), 10 + 4 + 1),
    ],
)
def test_texts_and_the_allowed_answer_are_counted(
    request_body: dict[str, object], tokens: int
) -> None:
    assert estimated_tokens(request_body) == tokens


def test_a_picture_counts_as_one_however_many_bytes_it_has() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10**6}}
    assert estimated_tokens(body([picture], max_tokens=1)) == 1_000 + 4 + 1


@given(messages=JSON, tools=JSON)
def test_whatever_is_in_a_request_is_counted_somehow(messages: object, tools: object) -> None:
    assert estimated_tokens({"messages": messages, "tools": tools}) >= 1_000
