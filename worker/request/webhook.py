"""The webhook of a job request: an address that can be told of the job's end."""

import msgspec

from worker.addresses import is_public
from worker.errors import InvalidRequest
from worker.request.values import shown
from worker.settings import Settings
from worker.text import repair

MOST_URL = 2048
MOST_PORT = 65_535


class WebhookTerms(msgspec.Struct, frozen=True):
    """What a webhook may be.

    Attributes:
        signed: whether there is a secret to sign it with; without one none is accepted.
        private: whether addresses that are not public may be asked, and `http` may be spoken.
    """

    signed: bool = False
    private: bool = False

    @classmethod
    def of(cls, settings: Settings) -> "WebhookTerms":
        """What it may be by a process's settings."""
        return cls(signed=settings.webhook_secret is not None, private=settings.webhook_private)


def webhook_of(given: object, terms: WebhookTerms) -> str | None:
    """The webhook's URL; None where none is asked for.

    An error never shows the URL: its path or query may be a secret.

    Raises:
        InvalidRequest: it cannot be used; says why.
    """
    if given is None:
        return None
    if not terms.signed:
        raise InvalidRequest(
            "webhook", "cannot be signed here", "set DELTAWORKS_WEBHOOK_SECRET, or leave it out"
        )
    if not isinstance(given, str):
        raise InvalidRequest("webhook", f"is {shown(given)}", "give a URL")
    if len(given) > MOST_URL:
        raise InvalidRequest("webhook", shown(given), f"give at most {MOST_URL:,} characters")
    _check(given, terms)
    return given


def _check(given: str, terms: WebhookTerms) -> None:
    import httpx  # where no webhook is asked for, nobody waits for it

    try:
        url = httpx.URL(given)
    except (httpx.InvalidURL, ValueError):
        url = None
    if url is None or not url.host or "%" in url.host or repair(given) != given:
        raise InvalidRequest("webhook", "is no URL", "give one like https://example.com/hook")
    if url.scheme not in ("https", "http"):
        raise InvalidRequest("webhook", f"has the scheme {shown(url.scheme)}", "use https")
    if url.scheme == "http" and not terms.private:
        raise InvalidRequest("webhook", "is not encrypted", "use https")
    if url.userinfo:
        raise InvalidRequest(
            "webhook", "holds a user or password", "leave them out: verify the signature"
        )
    if url.port is not None and not 0 < url.port <= MOST_PORT:
        raise InvalidRequest("webhook", f"has the port {url.port}", f"give 1 to {MOST_PORT:,}")
    if not terms.private and not _may_be_public(url.host):
        raise InvalidRequest(
            "webhook", "has an address that is not public", "give one that is, or a name"
        )


def _may_be_public(host: str) -> bool:
    """Whether it is a public address, or a name: what that leads to shows when it is asked."""
    name = host.rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761: always this machine
        return False
    try:
        return is_public(host)
    except ValueError:
        return True
