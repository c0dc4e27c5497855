"""One webhook over the network: to the address that was checked, and nowhere else."""

import asyncio
import base64
import socket
import ssl
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
import trustme

from tests.receiver import HANGS, SECRET, receiving
from worker.transport import Addresses
from worker.webhooks import PublicAddresses, Sender, Signer, open_sender
from worker.webhooks.addresses import NotPublic
from worker.webhooks.silence import SILENT_AT, SILENT_S, Silence

BODY = b'{"text": "f\xc3\xbcr dich"}'


class Names:
    """A resolver that says what it is told to, one answer after the other, then the last again."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Addresses:
        self.asked.append(host)
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, port))
            for address in found
            for family in [socket.AF_INET6 if ":" in address else socket.AF_INET]
        ]


def sender(
    names: Names | None = None, tls: ssl.SSLContext | None = None, *, private: bool = True
) -> AbstractAsyncContextManager[Sender]:
    how = {} if names is None else {"resolve": names}
    addresses = PublicAddresses(private=private, **how)
    return open_sender(Signer([SECRET]), addresses, tls, timeout_s=1.0)


async def test_a_webhook_is_a_post_that_its_receiver_can_verify() -> None:
    async with receiving() as receiver, sender() as ours:
        assert await ours.post(receiver.url, "evt_1", BODY) == 204
    (event,) = receiver.events()
    assert event == {"text": "f\u00fcr dich"}
    (received,) = receiver.received
    assert received.line == "POST /hook?token=canary-query HTTP/1.1"
    assert received.headers["webhook-id"] == "evt_1"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"].startswith("deltaworks/")


async def test_while_secrets_change_either_verifies() -> None:
    other = "whsec_" + base64.b64encode(b"another-secret-of-32-bytes-or-so").decode()
    async with receiving() as receiver:
        addresses = PublicAddresses(private=True)
        async with open_sender(Signer([other, SECRET]), addresses) as ours:
            await ours.post(receiver.url, "evt_1", BODY)
    assert receiver.events(SECRET) == receiver.events(other)


async def test_the_name_is_looked_up_once_and_its_address_asked_under_the_name() -> None:
    authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("hook.example").configure_cert(tls)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    seen: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: seen.append(name)
    names = Names(("127.0.0.1",))
    async with receiving(tls=tls) as receiver, sender(names, trusting) as ours:
        assert await ours.post(f"https://hook.example:{receiver.port}/", "evt_1", BODY) == 204
        with pytest.raises(httpx.ConnectError):
            await ours.post(f"https://other.example:{receiver.port}/", "evt_1", BODY)
    assert receiver.received[0].headers["host"] == f"hook.example:{receiver.port}"
    assert seen == ["hook.example", "other.example"]
    assert names.asked == ["hook.example", "other.example"]


async def test_a_private_address_is_not_asked() -> None:
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        async with receiving() as receiver, sender(Names((address,)), private=False) as ours:
            with pytest.raises(httpx.ConnectError) as caught:
                await ours.post(f"http://hook.example:{receiver.port}/", "evt_1", BODY)
        assert isinstance(caught.value.__cause__, NotPublic)
        assert receiver.connections == 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "0x7f.1", "2130706433"])
async def test_no_way_to_write_loopback_leads_to_it(host: str) -> None:
    async with receiving() as receiver, sender(private=False) as ours:
        with pytest.raises(httpx.ConnectError):
            await ours.post(f"http://{host}:{receiver.port}/", "evt_1", BODY)
    assert receiver.connections == 0


async def test_only_the_public_addresses_of_a_name_are_asked() -> None:
    names = Names(("10.0.0.1", "8.8.8.8", "::1", "2606:4700:4700::1111"))
    addresses = PublicAddresses(private=False, resolve=names)
    found = [one[4][0] for one in await addresses("hook.example", 443)]
    assert found == ["8.8.8.8", "2606:4700:4700::1111"]
    addresses.close()


async def test_a_name_that_changes_after_it_was_checked_gains_nothing() -> None:
    names = Names(("127.0.0.1",), ("127.0.0.2",))
    async with receiving() as receiver, sender(names) as ours:
        assert await ours.post(f"http://hook.example:{receiver.port}/", "evt_1", BODY) == 204
    assert names.asked == ["hook.example"]


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with receiving() as elsewhere:
        location = f"HTTP/1.1 307 Go\r\nlocation: {elsewhere.url}\r\ncontent-length: 0\r\n\r\n"
        async with receiving(location.encode()) as receiver, sender() as ours:
            assert await ours.post(receiver.url, "evt_1", BODY) == 307
    assert elsewhere.connections == 0


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with sender() as ours:
            assert await ours.post(receiver.url, "evt_1", BODY) == 204
    assert (proxy.connections, len(receiver.received)) == (0, 1)


async def test_an_answer_without_an_end_is_not_read_to_it() -> None:
    endless = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n" + b"x" * 100_000
    async with receiving(endless) as receiver, sender() as ours:
        assert await ours.post(receiver.url, "evt_1", BODY) == 200


async def test_a_receiver_that_says_nothing_is_not_waited_for_longer_than_the_timeout() -> None:
    async with receiving(HANGS) as receiver, sender() as ours:
        with pytest.raises(TimeoutError):
            await ours.post(receiver.url, "evt_1", BODY)


async def test_webhooks_that_follow_one_another_share_a_connection() -> None:
    async with receiving() as receiver, sender() as ours:
        for number in range(5):
            await ours.post(receiver.url, f"evt_{number}", BODY)
    assert (receiver.connections, len(receiver.received)) == (1, 5)


async def test_a_slow_resolver_holds_up_no_other_threads() -> None:
    answers = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(host: str, port: int) -> Addresses:
        asyncio.run_coroutine_threadsafe(answers.wait(), loop).result()
        return []

    addresses = PublicAddresses(private=True, resolve=slow)
    looking = [asyncio.create_task(addresses("slow.example", 1)) for _ in range(40)]
    async with asyncio.timeout(5):
        await asyncio.gather(*(asyncio.to_thread(int) for _ in range(40)))
    answers.set()
    assert all(
        isinstance(one, NotPublic) for one in await asyncio.gather(*looking, return_exceptions=True)
    )
    addresses.close()


def test_a_receiver_that_was_silent_in_a_row_is_not_asked_for_a_while() -> None:
    now = [100.0]
    silence, url = Silence(lambda: now[0]), "https://a.example/one?x=1"
    for _ in range(SILENT_AT - 1):
        silence.begins(url)
    silence.ends(url)
    for _ in range(SILENT_AT):
        assert not silence.lasts(url)
        silence.begins(url)
    assert silence.lasts("https://a.example/two")
    assert not silence.lasts("https://b.example/one")
    now[0] += SILENT_S
    assert not silence.lasts(url)
    silence.begins(url)
    assert silence.lasts(url)
    silence.ends(url)
    assert not silence.lasts(url)
