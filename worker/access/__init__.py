"""Who may do what: API keys and their tenants, and tokens that open one job for reading.

secrets    how a key looks, and what is kept of it
tokens     signed words that open one job to a browser, for a while
access     from the word that came with a request to who sent it
rate       how many requests a minute a key has, over all gateways
"""

from worker.access.access import LOCAL, Access, Principal, Scope
from worker.access.rate import Rate
from worker.access.secrets import digest_of, new_key
from worker.access.tokens import Tokens, token_secret

__all__ = [
    "LOCAL",
    "Access",
    "Principal",
    "Rate",
    "Scope",
    "Tokens",
    "digest_of",
    "new_key",
    "token_secret",
]
