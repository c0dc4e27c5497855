"""Fairness: never more than the room or the wish; whoever has fewest is served first."""

from hypothesis import given
from hypothesis import strategies as st

from worker.batch.fairness import Wish, by_tenant, level, shares

COUNTS = st.integers(0, 12)
WISHES = st.lists(
    st.builds(
        Wish,
        batch=st.sampled_from([f"batch-{n}" for n in range(9)]),
        tenant=st.sampled_from("abc"),
        priority=st.integers(-1, 1),
        running=COUNTS,
        most=COUNTS,
    ),
    unique_by=lambda wish: wish.batch,
)
# Rows under way of a tenant's batches that want nothing: paused ones, or those being cancelled.
OTHERS = st.dictionaries(st.sampled_from("abcd"), COUNTS)
ROOM = st.integers(-3, 60)
ENDLESS = 1 << 30


def running_of(wishes: list[Wish], others: dict[str, int]) -> dict[str, int]:
    pairs = [(wish.tenant, wish.running) for wish in wishes]
    return by_tenant([*pairs, *others.items()])


@given(WISHES, ROOM, OTHERS)
def test_no_more_than_the_room_or_the_wish_and_nothing_is_left_over(
    wishes: list[Wish], room: int, others: dict[str, int]
) -> None:
    found = shares(wishes, room, running_of(wishes, others))
    assert found.keys() == {wish.batch for wish in wishes}
    assert all(0 <= found[wish.batch] <= wish.most for wish in wishes)
    wanted = sum(wish.most for wish in wishes)
    assert sum(found.values()) == min(max(room, 0), wanted)


@given(WISHES, ROOM, OTHERS)
def test_nobody_gets_a_slot_while_another_tenant_has_fewer_and_wants_more(
    wishes: list[Wish], room: int, others: dict[str, int]
) -> None:
    running = running_of(wishes, others)
    found = shares(wishes, room, running)
    got = by_tenant((wish.tenant, found[wish.batch]) for wish in wishes)
    wanted = by_tenant((wish.tenant, wish.most) for wish in wishes)
    for poor in got:
        for rich in got:
            if got[poor] < wanted[poor] and got[rich]:
                assert running[rich] + got[rich] <= running[poor] + got[poor] + 1


@given(WISHES, ROOM, OTHERS)
def test_a_tenants_higher_priority_has_all_it_wants_before_a_lower_one_gets_any(
    wishes: list[Wish], room: int, others: dict[str, int]
) -> None:
    found = shares(wishes, room, running_of(wishes, others))
    for first in wishes:
        for second in wishes:
            if first.tenant == second.tenant and first.priority > second.priority:
                assert found[first.batch] == first.most or found[second.batch] == 0


@given(WISHES, ROOM, OTHERS)
def test_a_tenants_batches_of_one_priority_are_levelled(
    wishes: list[Wish], room: int, others: dict[str, int]
) -> None:
    found = shares(wishes, room, running_of(wishes, others))
    for poor in wishes:
        for rich in wishes:
            same = (poor.tenant, poor.priority) == (rich.tenant, rich.priority)
            if same and found[poor.batch] < poor.most and found[rich.batch]:
                has = poor.running + found[poor.batch]
                assert rich.running + found[rich.batch] <= has + 1


@given(WISHES, ROOM, OTHERS)
def test_the_order_of_wishes_means_nothing_to_tenants(
    wishes: list[Wish], room: int, others: dict[str, int]
) -> None:
    running = running_of(wishes, others)
    assert shares(wishes, room, running) == shares(wishes[::-1], room, running)


def test_priority_of_one_tenant_takes_nothing_from_another() -> None:
    wishes = [Wish("a", "ours", 100, 0, ENDLESS), Wish("b", "theirs", -100, 0, ENDLESS)]
    assert shares(wishes, 10, {}) == {"a": 5, "b": 5}


def test_a_tenant_that_comes_late_is_made_equal_first() -> None:
    wishes = [Wish("a", "ours", 0, 8, ENDLESS), Wish("b", "theirs", 0, 0, ENDLESS)]
    assert shares(wishes, 6, {"ours": 8, "theirs": 0}) == {"a": 0, "b": 6}
    assert shares(wishes, 12, {"ours": 8, "theirs": 0}) == {"a": 2, "b": 10}


def test_many_batches_get_a_tenant_no_more_than_one() -> None:
    ours = [Wish(f"a{n}", "ours", 0, 0, ENDLESS) for n in range(3)]
    found = shares([*ours, Wish("b", "theirs", 0, 0, ENDLESS)], 12, {})
    assert found == {"a0": 2, "a1": 2, "a2": 2, "b": 6}


def test_what_runs_of_a_paused_batch_counts_for_its_tenant() -> None:
    wishes = [Wish("a", "ours", 0, 0, ENDLESS), Wish("b", "theirs", 0, 0, ENDLESS)]
    assert shares(wishes, 4, {"ours": 4}) == {"a": 0, "b": 4}


def test_nobody_wants_anything() -> None:
    assert shares([], 10, {}) == {} and level({}, {}, 10) == {}
    assert level({"a": 0, "b": 3}, {"a": 0, "b": 9}, 2) == {"a": 0, "b": 2}
