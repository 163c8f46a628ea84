"""The marks of things in a cloud."""

from dbmod import ids, marks
from dbmod.store.interface import Store


def test_a_ledger_has_one_id_for_ever(empty_ledger: Store) -> None:
    first = marks.ledger_id(empty_ledger)
    assert marks.ledger_id(empty_ledger) == first
    assert empty_ledger.snapshot().serial == 1


def test_what_was_marked_is_read_again() -> None:
    ledger, instance = ids.new_id(), ids.new_id()
    assert marks.read({"dbmod_ledger": ledger, "dbmod_instance": instance}) == (ledger, instance)
    assert marks.read(None, marks.description(ledger, instance)) == (ledger, instance)
    assert marks.read({}, marks.description(ledger, instance)) == (ledger, instance)


def test_what_others_made_bears_no_mark() -> None:
    assert marks.read(None) == ("", "")
    assert marks.read({"name": "dbmod"}, "the port of dbmod") == ("", "")
    assert marks.read(None, "dbmod_ledger=../../etc dbmod_instance=x") == ("", "")
