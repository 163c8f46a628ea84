"""Times, as the tables of the guide write them."""

from datetime import UTC, datetime, timedelta, timezone

from dbmod import clock

EAST = timezone(timedelta(hours=5, minutes=30))
MOMENT = datetime(2017, 6, 2, 22, 53, 40, 509_999, tzinfo=EAST)


def test_the_registry_shows_seconds_in_utc() -> None:
    assert clock.seconds(MOMENT) == "2017-06-02T17:23:40"


def test_a_query_shows_hundredths_in_utc_cut_and_not_rounded() -> None:
    assert clock.hundredths(MOMENT) == "2017-06-02 17:23:40.50"
    assert clock.hundredths(MOMENT.replace(microsecond=0)) == "2017-06-02 17:23:40.00"


def test_now_is_utc() -> None:
    assert clock.now().tzinfo is UTC
    assert abs(clock.now() - datetime.now(EAST)) < timedelta(seconds=5)
