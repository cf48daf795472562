"""Which DAG files are to be read again, and for how long that is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from include.registry.reparse import ASK_AGAIN, MOST_ASKS, Watch
from include.registry.shards import HEALTH_FILE, RowVersion, shard_file, shard_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FILE = shard_file(shard_of("hopeworks"))
OLD = {"hopeworks": RowVersion(1, NOW - timedelta(days=1)), "mentornet": RowVersion(4, NOW)}


def version(number: int, *, at: datetime = NOW) -> dict[str, RowVersion]:
    return OLD | {"hopeworks": RowVersion(number, at)}


def after(rows: dict[str, RowVersion], *, now: datetime = NOW) -> Watch:
    """The watch that knows ``OLD`` and then sees ``rows``."""
    return Watch(known=OLD).see(rows, (), now)


def test_nothing_is_asked_for_while_nothing_changes():
    assert after(dict(OLD)).files(NOW) == ()


def test_a_changed_row_has_the_file_of_its_shard_read():
    assert after(version(2)).files(NOW) == (FILE,)


def test_a_row_deleted_and_inserted_again_between_two_looks_has_changed():
    assert after(version(1, at=NOW)).files(NOW) == (FILE,)


def test_a_row_that_is_gone_has_its_file_read_once():
    gone = {"mentornet": OLD["mentornet"]}
    watch = after(gone)
    assert watch.files(NOW) == (FILE,)
    watch = watch.asked(watch.due(NOW), NOW).see(gone, (), NOW + ASK_AGAIN).settle({})
    assert FILE not in watch.files(NOW + ASK_AGAIN)


def test_the_first_look_asks_for_rows_without_a_dag_and_dags_without_a_row():
    first = Watch().see(OLD, ["mentornet"], NOW)
    assert first.files(NOW) == (FILE,)
    assert Watch().see(OLD, OLD, NOW).files(NOW) == ()
    assert Watch().see({}, ["hopeworks"], NOW).files(NOW) == (FILE,)


def test_a_reading_that_began_before_the_change_does_not_count():
    watch = after(version(2))
    watch = watch.asked(watch.due(NOW), NOW)
    early = watch.settle({"hopeworks": NOW - SECOND})
    assert early.files(NOW + SECOND) == ()
    assert FILE in early.files(NOW + ASK_AGAIN)  # the request may have been dropped during that reading


def test_a_reading_that_began_after_the_change_ends_the_wait_and_the_health_file_tells():
    watch = after(version(2))
    watch = watch.asked(watch.due(NOW), NOW).settle({"hopeworks": NOW + SECOND})
    assert watch.files(NOW + ASK_AGAIN) == (HEALTH_FILE,)
    assert watch.see(version(2), (), NOW + 2 * ASK_AGAIN).files(NOW + 2 * ASK_AGAIN) == ()


def test_a_row_that_never_gets_a_dag_is_not_asked_for_for_ever():
    asked: list[str] = []
    watch, now = after(version(2)), NOW
    for _ in range(100):
        watch = watch.see(version(2), (), now).settle({})
        asked += watch.files(now)
        watch = watch.asked(watch.due(now), now)
        now += SECOND
    assert asked.count(FILE) == MOST_ASKS
    assert HEALTH_FILE in asked  # it says what is wrong with the row


def test_a_second_change_is_waited_for_anew():
    watch = after(version(2))
    watch = watch.asked(watch.due(NOW), NOW)
    later = NOW + 3 * SECOND
    watch = watch.see(version(3), (), later)
    assert watch.settle({"hopeworks": NOW + SECOND}).files(later) == (FILE,)
