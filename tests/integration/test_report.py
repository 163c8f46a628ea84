"""The report in a real browser: it loads nothing, is silent on the console, and does what a reader asks of it.

Needs `scripts/set_up browser`, as `make nightly` calls it.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from dbmod import fleet_status, report, report_page
from tests import browsers, builders

pytestmark = pytest.mark.nightly

EMOJI = "👩\u200d💻"  # a joiner is no trick
HOSTILE = f"</script><script>window.hit=1</script><img src=x onerror=window.hit=1><b>\u202e\u061cB</b>{EMOJI}"
TURNED = HOSTILE.replace("\u202e", "\\u202e").replace("\u061c", "\\u061c")
LARGE = 1_000


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet of 1,000 redis, db-7 failed, one mysql in a cluster; what users and hosts say is hostile."""
    module, other = builders.module(2, name="licence"), builders.module(name=HOSTILE)
    fleet = [builders.instance(f"db-{number:04}") for number in range(LARGE)]
    odd = builders.instance(HOSTILE, datastore="mysql", cluster_id="one", region=HOSTILE)
    rows = [builders.row(module, one, 2) for one in fleet]
    rows[7] = builders.row(module, fleet[7], 1, status="ERROR", last_attempt="error", message=HOSTILE)
    run = builders.run(state="failed", reason=HOSTILE, actor=HOSTILE, message=HOSTILE, batch=1, batch_sizes=(1001,))
    attempts = [builders.attempt(run, module, one, state="error", message=HOSTILE) for one in [odd, *fleet]]
    instances, modules = [odd, *fleet], [module, other]
    scope = report.Scope(
        instances={one.id: one.name for one in instances},
        modules={one.id: one.name for one in modules},
        clusters={"one": HOSTILE},
        is_all=True,
    )
    told = report.told(run, attempts, scope)
    assert told
    data = report.data(
        made_at=builders.LATER,
        title=HOSTILE,
        instances=instances,
        modules=modules,
        pairs=fleet_status.pairs(instances, modules, rows),
        runs=[(told, "1001 failed")],
        scope=scope,
    )
    path = tmp_path_factory.mktemp("report") / "fleet.html"
    path.write_text(report_page.fill(report.embedded(data)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with browsers.opened() as one:
        yield one


@pytest.fixture
def shown(browser: Chrome, page: Path) -> Iterator[Chrome]:
    """The page, fresh; afterwards nothing was said on the console, no markup came of a text, nothing was asked for."""
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.hit === undefined && !document.querySelector('img, main script')")
    said = [json.loads(one["message"])["message"] for one in browser.get_log("performance")]
    asked = {one["params"]["request"]["url"] for one in said if one["method"] == "Network.requestWillBeSent"}
    assert asked <= {page.as_uri()}


def rows(browser: Chrome) -> list[str]:
    script = "return [...document.querySelectorAll('#matrix tbody tr:not(.detail) > th')].map((one) => one.textContent)"
    return list(browser.execute_script(script))


def test_a_page_shows_fifty_rows_and_turns(shown: Chrome) -> None:
    assert len(rows(shown)) == 50
    assert rows(shown)[0] == TURNED
    shown.find_element(By.XPATH, "//button[text()='Next']").click()
    assert rows(shown)[0] == "db-0049"


def test_search_and_filters_narrow_it(shown: Chrome) -> None:
    search = shown.find_element(By.ID, "search")
    search.send_keys("DB-0999")
    assert rows(shown) == ["db-0999"]
    shown.find_element(By.ID, "clear").click()
    search.send_keys("mysql")
    assert rows(shown) == [TURNED]
    shown.find_element(By.ID, "clear").click()
    Select(shown.find_element(By.ID, "datastore")).select_by_value("mysql")
    assert rows(shown) == [TURNED]
    shown.find_element(By.ID, "clear").click()
    Select(shown.find_element(By.ID, "cluster")).select_by_index(1)
    assert rows(shown) == [TURNED]
    shown.find_element(By.ID, "clear").click()
    shown.find_element(By.XPATH, "//div[@id='standings']/button[contains(., 'failed')]").click()
    assert rows(shown) == ["db-0007"]
    Select(shown.find_element(By.ID, "module")).select_by_index(2)
    assert rows(shown) == []
    assert shown.find_element(By.ID, "found").text == "0 of 1001 instances"


def test_the_keyboard_skips_to_the_fleet_and_opens_an_instance(shown: Chrome) -> None:
    shown.switch_to.active_element.send_keys(Keys.TAB)
    assert shown.switch_to.active_element.text == "Skip to the fleet"
    shown.switch_to.active_element.send_keys(Keys.ENTER)
    assert shown.switch_to.active_element.get_attribute("id") == "fleet"
    shown.find_element(By.ID, "search").send_keys("db-0007", *[Keys.TAB] * 6)
    opener = shown.switch_to.active_element
    assert (opener.text, opener.get_attribute("aria-expanded")) == ("db-0007", "false")
    assert shown.execute_script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    opener.send_keys(Keys.ENTER)
    assert opener.get_attribute("aria-expanded") == "true"
    detail = shown.find_element(By.CSS_SELECTOR, ".detail").text
    assert "failed" in detail
    assert TURNED in detail


def test_a_cell_says_its_standing_in_words(shown: Chrome) -> None:
    shown.find_element(By.ID, "search").send_keys("db-0007")
    spoken = shown.execute_script(
        "return [...document.querySelectorAll('#matrix td .spoken')].map((one) => one.textContent)"
    )
    assert spoken == ["failed, holds version 1", "not applied"]
    assert shown.find_elements(By.CSS_SELECTOR, "#matrix thead th:not([scope=col])") == []


def test_a_run_opens_to_its_batches(shown: Chrome) -> None:
    assert shown.find_elements(By.CSS_SELECTOR, "#run-table .detail") == []
    shown.execute_script("document.querySelector('#run-table .opener').click()")
    detail = shown.find_element(By.CSS_SELECTOR, "#run-table .detail")
    assert "Batch 1: 1001 error" in detail.text
    assert len(detail.find_elements(By.CSS_SELECTOR, ".detail table tbody tr")) == 100
    shown.execute_script("arguments[0].click()", detail.find_element(By.TAG_NAME, "button"))
    assert len(detail.find_elements(By.CSS_SELECTOR, ".detail table tbody tr")) == 200


def test_it_is_dark_by_the_button_and_by_the_system(shown: Chrome, page: Path) -> None:
    def back(one: Chrome) -> str:
        return str(one.execute_script("return getComputedStyle(document.body).backgroundColor"))

    light = back(shown)
    shown.find_element(By.ID, "theme").click()
    dark = back(shown)
    assert dark != light
    with browsers.opened(prefers="dark") as other:
        other.get(page.as_uri())
        assert back(other) == dark


def test_it_prints_all_that_the_filters_let_through_and_comes_back(shown: Chrome) -> None:
    shown.find_element(By.ID, "search").send_keys("db-01")  # 1,000 rows take a busy machine more than the driver waits
    shown.execute_script(
        "addEventListener('beforeprint', () => { window.rows = document.querySelectorAll('#matrix tbody tr').length })"
    )
    assert len(rows(shown)) == 50
    assert base64.b64decode(shown.print_page()).startswith(b"%PDF")
    assert shown.execute_script("return window.rows") == 100
    assert len(rows(shown)) == 50
