"""Settings: from the environment, with defaults that work, refused with the variable's name."""

import pytest

from worker.errors import ConfigurationError
from worker.settings import PREFIX, Settings, load

WHSEC = "whsec_" + "A" * 32


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nothing of ours is set."""
    import os

    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    return monkeypatch


def loaded(environment: pytest.MonkeyPatch, **values: str) -> Settings:
    """What a process with these variables gets."""
    for name, value in values.items():
        environment.setenv(PREFIX + name.upper(), value)
    return load.__wrapped__()


def test_everything_is_embedded_where_nothing_is_set(environment: pytest.MonkeyPatch) -> None:
    settings = loaded(environment)
    assert (settings.embedded_redis, settings.embedded_database) == (True, True)
    assert (settings.lease_s, settings.renew_s, settings.streams) == (30, 10, 500)


def test_an_empty_variable_is_an_unset_one(environment: pytest.MonkeyPatch) -> None:
    assert loaded(environment, redis_url="", streams="").streams == 500


def test_a_broker_that_is_a_redis_carries_the_channel_too(environment: pytest.MonkeyPatch) -> None:
    settings = loaded(environment, broker_url="redis://host/0")
    assert not settings.embedded_redis


def test_each_lane_has_its_own_times(environment: pytest.MonkeyPatch) -> None:
    settings = loaded(environment, bulk_deadline_s="7200", bulk_log_ttl_s="5", log_ttl_s="9")
    assert (settings.deadline_s("bulk"), settings.deadline_s("interactive")) == (7200, 3600)
    assert settings.closed_log_life_s("bulk") == 5
    assert settings.closed_log_life_s("interactive") == 9


def test_an_open_log_outlives_an_attempt(environment: pytest.MonkeyPatch) -> None:
    settings = loaded(environment, attempt_timeout_s="10000")
    assert settings.open_log_life_s > 10_000 + settings.lease_s


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"streams": "0"}, "STREAMS"),
        ({"streams": "many"}, "STREAMS"),
        ({"lease_s": "0.5"}, "LEASE_S"),
        ({"renew_s": "-1"}, "RENEW_S"),
        ({"renew_s": "nan"}, "RENEW_S"),
        ({"lease_s": "inf"}, "LEASE_S"),
        ({"log_ttl_s": "inf"}, "LOG_TTL_S"),
        ({"bulk_deadline_s": "inf"}, "BULK_DEADLINE_S"),
        ({"interactive_deadline_s": "1e12"}, "INTERACTIVE_DEADLINE_S"),
        ({"attempt_timeout_s": "1e300"}, "ATTEMPT_TIMEOUT_S"),
        ({"sweep_s": "0"}, "SWEEP_S"),
        ({"grace_s": "-1"}, "GRACE_S"),
        ({"max_event_bytes": "1.5"}, "MAX_EVENT_BYTES"),
        ({"renew_s": "20"}, "RENEW_S=20 leaves no second try within DELTAWORKS_LEASE_S=30"),
        ({"lease_s": "1"}, "RENEW_S=10 leaves no second try"),
        ({"broker_url": "amqp://host"}, "BROKER_URL names a broker that cannot carry"),
        (
            {"broker_url": "sentinel://host:26379", "redis_url": "redis://host/0"},
            "BROKER_URL: begins with none of redis://, rediss://, redis.socket://, amqp://, amqps",
        ),
        (
            {"queue_type": "quorum", "redis_url": "redis://host/0"},
            "QUEUE_TYPE=quorum is for",
        ),
        ({"queue_type": "mirrored"}, "QUEUE_TYPE"),
        ({"redis_url": "host:6379"}, "REDIS_URL"),
        ({"files_url": "/srv/files"}, "FILES_URL: names no protocol; write file:///folder"),
        ({"max_file_bytes": "10"}, "MAX_FILE_BYTES"),
        ({"file_life_s": "inf"}, "FILE_LIFE_S"),
        ({"webhook_secret": "secret"}, "WEBHOOK_SECRET: is not whsec_ and the base64 of 24 to 64"),
        ({"webhook_secret": "whsec_!!"}, "WEBHOOK_SECRET"),
        ({"webhook_secret": "whsec_c2hvcnQ="}, "WEBHOOK_SECRET"),
        ({"webhook_secret": f"{WHSEC} whsec_c2hvcnQ="}, "WEBHOOK_SECRET"),
        ({"webhook_secret": " "}, "WEBHOOK_SECRET"),
    ],
)
def test_what_cannot_work_is_refused_with_its_name(
    environment: pytest.MonkeyPatch, values: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"DELTAWORKS_{named}"):
        loaded(environment, **values)


def test_all_faults_are_told_at_once(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"STREAMS.*; .*SWEEP_S"):
        loaded(environment, streams="0", sweep_s="0")


def test_no_password_is_told(environment: pytest.MonkeyPatch) -> None:
    urls = {"redis_url": "http://me:secret@host", "broker_url": "me:secret@host"}
    urls |= {"webhook_secret": "whsec_secret"}
    with pytest.raises(ConfigurationError) as caught:
        loaded(environment, **urls, streams="0")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_settings_do_not_change(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="frozen"):
        loaded(environment).streams = 1  # type: ignore[misc]


def test_one_webhook_secret_signs_and_two_while_they_change(
    environment: pytest.MonkeyPatch,
) -> None:
    for given in (WHSEC, f"{WHSEC} {WHSEC.lower().replace('a', 'B')}"):
        secret = loaded(environment, webhook_secret=given).webhook_secret
        assert secret is not None and secret.get_secret_value() == given
        assert "AAAA" not in repr(secret)
