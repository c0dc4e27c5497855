"""The webhook of a job request: an address that can be signed for and told, or a clear refusal."""

import pytest

from worker.catalog import Catalog, Upstream
from worker.errors import InvalidRequest
from worker.request import JobRequest, WebhookTerms, rejected, validate

CATALOG = Catalog((Upstream(name="a", base_url="http://a", models=("gpt-*",)),))
SIGNED = WebhookTerms(signed=True)
PRIVATE = WebhookTerms(signed=True, private=True)
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


def valid(webhook: object, terms: WebhookTerms = SIGNED) -> JobRequest:
    return validate({"request": BODY, "webhook": webhook}, CATALOG, 10_000, terms)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/hook?token=secret",
        "HTTPS://EXAMPLE.COM/",
        "https://ex\u00e4mple.com/\u00e4",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
        "https://example.com/" + "a" * 2028,
    ],
)
def test_a_url_that_leads_to_everybodys_internet_is_taken_as_it_is(url: str) -> None:
    assert valid(url).webhook == url


@pytest.mark.parametrize(
    ("webhook", "said"),
    [
        (7, "is 7; give a URL"),
        ({"url": "https://example.com"}, "is an object"),
        ("https://example.com/" + "a" * 2029, "a text of 2,049 characters; give at most 2,048"),
        ("", "is no URL"),
        ("example.com/hook", "is no URL"),
        ("https:///hook", "is no URL"),
        ("https://a%2e.com/", "is no URL"),
        ("https://[::1/", "is no URL"),
        ("https://a\x00b/", "is no URL"),
        ("https://a/\ud800", "is no URL"),
        ("https://[fe80::1%25eth0]/", "is no URL"),
        ("ftp://example.com/", "has the scheme 'ftp'; use https"),
        ("file://example.com/etc/passwd", "has the scheme 'file'"),
        ("http://example.com/", "is not encrypted; use https"),
        ("https://me:secret@example.com/", "holds a user or password"),
        ("https://me@example.com/", "holds a user or password"),
        ("https://example.com:0/", "has the port 0"),
        ("https://example.com:65536/", "has the port 65536; give 1 to 65,535"),
        ("https://127.0.0.1/", "has an address that is not public"),
        ("https://[::1]/", "has an address that is not public"),
        ("https://[::ffff:10.0.0.1]/", "has an address that is not public"),
        ("https://169.254.169.254/latest", "has an address that is not public"),
        ("https://localhost/", "has an address that is not public"),
        ("https://a.LOCALHOST./", "has an address that is not public"),
    ],
)
def test_what_cannot_be_used_is_refused_and_never_quoted(webhook: object, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        valid(webhook)
    assert str(caught.value).startswith("webhook: ") and said in str(caught.value)
    assert "secret" not in str(caught.value) and "latest" not in str(caught.value)


def test_private_addresses_and_http_can_be_allowed() -> None:
    for url in ("http://localhost:8000/", "https://10.0.0.1/", "http://[::1]/"):
        assert valid(url, PRIVATE).webhook == url


def test_without_a_secret_none_is_taken_and_the_setting_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"webhook: .*set DELTAWORKS_WEBHOOK_SECRET"):
        valid("https://example.com/", WebhookTerms())


def test_no_webhook_needs_no_secret() -> None:
    assert valid(None, WebhookTerms()).webhook is None


def test_the_webhook_belongs_to_the_request_of_an_idempotency_key() -> None:
    one, other, none = (valid(url) for url in ("https://a.com/", "https://b.com/", None))
    assert len({one.hash, other.hash, none.hash}) == 3
    assert none.hash == validate({"request": BODY}, CATALOG, 10_000).hash


def test_who_sent_an_invalid_request_is_told_so_where_that_can_be_done() -> None:
    url = "https://example.com/"
    assert rejected({"webhook": url, "lane": "fast"}, SIGNED).webhook == url
    assert rejected({"webhook": url}).webhook is None
    assert rejected({"webhook": "ftp://example.com"}, SIGNED).webhook is None
