"""The data of the report: what is in it, what a tenant may not see, and that no name leaves its script element."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbmod import fleet_status, report, report_page
from dbmod.records import Attempt, Instance, Module, Row, Run
from dbmod.report import Scope
from tests import builders

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\u2028\u2029<!--"


def made(
    instances: list[Instance], modules: list[Module], rows: list[Row], told: list[report.Told] | None = None
) -> dict[str, Any]:
    return report.data(
        made_at=builders.MOMENT,
        title="All instances",
        instances=instances,
        modules=modules,
        pairs=fleet_status.pairs(instances, modules, rows),
        runs=[(one, "1 ok") for one in told or []],
        scope=scope(instances, modules, is_all=True),
    )


def scope(instances: list[Instance], modules: list[Module], *, is_all: bool = False) -> Scope:
    return Scope(
        instances={one.id: one.name for one in instances},
        modules={one.id: one.name for one in modules},
        clusters={},
        is_all=is_all,
    )


def attempts_of(run: Run, module: Module, *instances: Instance) -> list[Attempt]:
    return [builders.attempt(run, module, one, state="ok") for one in instances]


def test_a_cell_tells_standing_version_look_and_message() -> None:
    module = builders.module(2)
    one, two, three = (builders.instance(f"db-{number}") for number in range(3))
    other = builders.instance("db-4", datastore="mysql")
    bound = builders.module(datastore="redis")
    rows = [
        builders.row(module, one, 2),
        builders.row(module, two, 1, status="ERROR", last_attempt="error", message="no room"),
        builders.row(module, three, 2, observed="drifted", observed_at=builders.LATER),
    ]
    data = made([one, two, three, other], [module, bound], rows)
    standings, words = data["standings"], data["words"]
    cells = [line[0] for line in data["cells"]]
    assert [standings[cell[0]] for cell in cells] == ["current", "failed", "drifted", "not applied"]
    assert [cell[1:] for cell in cells] == [
        [2],
        [1, 0, words.index("no room")],
        [2, words.index("2017-06-02T18:06:21")],
        [],
    ]
    assert [line[1] for line in data["cells"]] == [[standings.index("not applied")]] * 3 + [0]


def test_versions_are_counted_by_who_holds_them_the_newest_first() -> None:
    module = builders.module(3)
    fleet = [builders.instance(f"db-{number}") for number in range(3)]
    rows = [builders.row(module, one, number) for one, number in zip(fleet, (3, 3, 1), strict=True)]
    [told] = made(fleet, [module], rows)["modules"]
    assert [(one[0], one[1], one[4]) for one in told["versions"]] == [
        (3, module.version(3).md5, 2),
        (2, module.version(2).md5, 0),
        (1, module.version(1).md5, 1),
    ]
    assert told["versions"][0][2:4] == ["2017-06-02T17:06:21", "ada"]
    assert [one[5] for one in told["versions"]] == ["", "", ""]


def test_a_version_whose_contents_are_gone_says_so() -> None:
    module = builders.module(2)
    old = msgspec.structs.replace(module.versions[0], pruned_at=builders.MOMENT)
    module = msgspec.structs.replace(module, versions=(old, *module.versions[1:]))
    [told] = made([], [module], [])["modules"]
    assert [(one[0], bool(one[5])) for one in told["versions"]] == [(2, False), (1, True)]


def test_a_run_tells_its_attempts_by_words_that_are_kept_once() -> None:
    module, one, two = builders.module(), builders.instance("db-1"), builders.instance("db-2")
    run = builders.run(reason="a ticket", actor="ada", batch=1, batch_sizes=(2,))
    told = report.told(run, attempts_of(run, module, one, two), scope([one, two], [module]))
    data = made([one, two], [module], [], [told])
    [shown] = data["runs"]
    words = data["words"]
    assert (shown["reason"], shown["actor"], shown["batch"], shown["batches"]) == ("a ticket", "ada", 1, 1)
    assert [[words[place] for place in attempt[1:4]] for attempt in shown["attempts"]] == [
        ["db-1", module.name, "ok"],
        ["db-2", module.name, "ok"],
    ]
    assert len(words) == len(set(words))


def test_a_run_is_told_without_what_is_out_of_scope() -> None:
    module, hidden = builders.module(name="ours"), builders.module(name="hidden")
    ours, theirs = builders.instance("ours"), builders.instance("theirs", tenant="other")
    run = builders.run(message="theirs failed", subject="theirs")
    every = [*attempts_of(run, module, ours, theirs), *attempts_of(run, hidden, ours)]
    told = report.told(run, every, scope([ours], [module]))
    text = json.dumps(made([ours], [module], [], [told]))
    assert len(told.attempts) == 1
    for secret in ("theirs", theirs.id, "hidden", hidden.id):
        assert secret not in text


def test_what_a_host_says_of_success_stays_out_for_a_ping_says_its_contents() -> None:
    module, one, two = builders.module(), builders.instance("db-1"), builders.instance("db-2")
    run = builders.run()
    every = [
        builders.attempt(run, module, one, state="ok", message="CANARY"),
        builders.attempt(run, module, two, state="error", message="no room"),
    ]
    told = report.told(run, every, scope([one, two], [module]))
    data = made([one, two], [module], [builders.row(module, one, message="CANARY")], [told])
    assert "CANARY" not in json.dumps(data)
    assert "no room" in data["words"]


def test_what_a_host_says_that_it_would_say_stays_out_too_and_a_look_is_called_one() -> None:
    module, one, two = builders.module(), builders.instance("db-1"), builders.instance("db-2")
    run = builders.run(verb="remove", options={"check": True})
    every = [
        builders.attempt(run, module, one, state="skipped", status="OK", message="CANARY", from_number=1),
        builders.attempt(run, module, two, state="skipped", status="ERROR", message="no room", from_number=1),
    ]
    data = made([one, two], [module], [], [report.told(run, every, scope([one, two], [module]))])
    assert "CANARY" not in json.dumps(data)
    [shown] = data["runs"]
    words = data["words"]
    assert shown["verb"] == "remove --check"
    told = [(words[one[3]], one[4], one[5], words[one[6]]) for one in shown["attempts"]]
    assert told == [("would stay", 1, 0, ""), ("would fail", 1, 0, "no room")]


def test_a_reconcile_tells_what_it_corrected() -> None:
    module, one = builders.module(), builders.instance("db-1")
    run = builders.run(verb="reconcile")
    every = [builders.attempt(run, module, one, state="ok", changed=True, message="holds version 1")]
    assert "holds version 1" in made([one], [module], [], [report.told(run, every, scope([one], [module]))])["words"]


def test_a_sync_is_told_to_who_sees_one_of_its_modules_and_names_no_other() -> None:
    ours, hidden = builders.module(name="ours"), builders.module(name="hidden")
    run = builders.run(verb="module-sync", playbook="", subject="hidden", options={"modules": {hidden.id: "delete"}})
    assert report.told(run, [], scope([], [ours])) is None
    both = builders.REPLACE(run, options={"modules": {ours.id: "update", hidden.id: "delete"}})
    [shown] = made([], [ours], [], [report.told(both, [], scope([], [ours]))])["runs"]
    assert shown["what"] == ""


def test_a_run_with_nothing_in_scope_is_left_out() -> None:
    module, theirs = builders.module(), builders.instance("theirs", tenant="other")
    run = builders.run(playbook="module_reapply", module_id=module.id)
    attempts = attempts_of(run, module, theirs)
    assert report.told(run, attempts, scope([], [module])) is None
    assert report.told(run, attempts, scope([], [], is_all=True)).attempts == attempts


def test_a_change_of_the_registry_is_told_to_who_sees_the_module() -> None:
    module = builders.module()
    run = builders.run(playbook="", module_id=module.id)
    assert report.told(run, [], scope([], [module])) is not None
    assert report.told(run, [], scope([], [])) is None


@given(text=st.text() | st.just(HOSTILE) | st.just("\ud800"))
def test_embedded_data_cannot_leave_its_element_and_reads_back(text: str) -> None:
    embedded = report.embedded({text: [text]})
    assert not set(embedded) & set("<>&\u2028\u2029")
    assert embedded.isascii()
    assert json.loads(embedded) == {text: [text]}


@pytest.mark.parametrize("name", [HOSTILE, "PAGE_SCRIPT STYLE_DIGEST PAGE_DATA PAGE_STYLE"])
def test_a_page_holds_a_hostile_name_as_data_alone(name: str) -> None:
    clean = report_page.fill(report.embedded(made([builders.instance("db-1")], [], [])))
    page = report_page.fill(report.embedded(made([builders.instance(name)], [builders.module(name=name)], [])))
    for tag in ("<script", "</script", "<img", "<!--", "PAGE_STYLE</"):
        assert page.count(tag) == clean.count(tag)
    [held] = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert json.loads(held)["instances"][0][0] == name


def test_the_page_may_load_nothing_and_allows_its_own_style_and_script_alone() -> None:
    page = report_page.fill("{}")
    assert "default-src 'none'" in page
    for name in ("page.css", "page.js"):
        text = (report_page.FOLDER / name).read_text(encoding="utf-8")
        assert text in page
        assert report_page._digest(text) in page
        assert not re.search(
            r"https?:|@import|url\(|innerHTML|outerHTML|insertAdjacentHTML|eval\(|document\.write", text
        )
    assert not re.search(r"PAGE_|_DIGEST", page)
