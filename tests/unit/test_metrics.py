"""The text that Prometheus reads: no name breaks a line, no series is there twice."""

import re
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbmod import errors, fleet_status, metrics, output_file
from dbmod.records import Instance, Module, Row
from tests import builders

ODD = 'a "quoted" \\ back\nslash, {x="y"} 漢'
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[0-9.e+]+)\Z')


def written(instances: list[Instance], modules: list[Module], rows: list[Row]) -> str:
    pairs = fleet_status.looked_at(fleet_status.pairs(instances, modules, rows), {})
    return metrics.text(instances, pairs)


def samples(text: str) -> dict[str, float]:
    """Take a text apart as Prometheus does: series → value. Every line has to be sound, every series there once."""
    assert text.endswith("\n")
    lines = [line for line in text[:-1].split("\n") if not line.startswith("# ")]
    found = [SAMPLE.match(line) for line in lines]
    assert all(found), text
    series = [line.rpartition(" ")[0] for line in lines]
    assert len(set(series)) == len(series)
    return dict(zip(series, (float(one[3]) for one in found if one), strict=True))


def test_metrics_count_pairs_and_say_which_instance_is_amiss() -> None:
    module = builders.module(2)
    first, second = builders.instance("db-1"), builders.instance("db-2")
    look = builders.LATER + timedelta(minutes=1)
    rows = [
        builders.row(module, first, 2, observed="in sync", observed_at=look),
        builders.row(module, second, 1, observed="in sync", observed_at=builders.LATER),
    ]
    found = samples(written([first, second], [module], rows))
    place = f'module="mymod",module_id="{module.id}"'
    assert found[f'dbmod_pairs{{{place},standing="current"}}'] == 1
    assert found[f'dbmod_pairs{{{place},standing="outdated"}}'] == 1
    assert found[f'dbmod_pairs{{{place},standing="drifted"}}'] == 0
    assert "not applied" not in str(found)
    by_instance = {
        (name, one.name): next(value for series, value in found.items() if series.startswith(name) and one.id in series)
        for one in (first, second)
        for name in ("dbmod_instance_not_current", "dbmod_instance_last_look_timestamp_seconds")
    }
    assert by_instance == {
        ("dbmod_instance_not_current", "db-1"): 0,
        ("dbmod_instance_not_current", "db-2"): 1,
        ("dbmod_instance_last_look_timestamp_seconds", "db-1"): look.timestamp(),
        ("dbmod_instance_last_look_timestamp_seconds", "db-2"): builders.LATER.timestamp(),
    }
    assert found["dbmod_last_look_timestamp_seconds"] == look.timestamp()


def test_every_family_says_what_it_is_also_for_an_empty_fleet() -> None:
    text = written([], [], [])
    assert samples(text) == {}
    names = re.findall(r"# TYPE (\S+) gauge\n", text)
    assert names == re.findall(r"# HELP (\S+) \S", text)
    assert len(names) == 4


def test_names_with_quotes_backslashes_and_line_feeds_stay_in_their_labels() -> None:
    module, instance = builders.module(name=ODD), builders.instance(ODD, region='r"\\')
    text = written([instance], [module], [builders.row(module, instance)])
    assert 'module="a \\"quoted\\" \\\\ back\\nslash, {x=\\"y\\"} 漢"' in text
    assert len(samples(text)) == 7  # six standings and an instance; no host was ever asked


def test_two_instances_and_two_modules_of_one_name_are_series_of_their_own() -> None:
    modules = [builders.module(), builders.module()]
    instances = [builders.instance(), builders.instance()]
    rows = [builders.row(module, one) for module in modules for one in instances]
    assert len(samples(written(instances, modules, rows))) == 2 * 6 + 2


@given(value=st.text())
def test_an_escaped_value_is_one_line_and_reads_back(value: str) -> None:
    escaped = metrics.escaped(value)
    assert "\n" not in escaped
    assert SAMPLE.match(f'x{{y="{escaped}"}} 1')
    read = re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), escaped)
    assert read == value


def test_the_file_is_replaced_whole_and_everybody_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "dbmod.prom"
    path.write_text("older\n")
    output_file.refuse_bad_place(path, what="The metrics")
    output_file.write(path, "newer 漢\n", what="The metrics", mode=0o644)
    assert path.read_text(encoding="utf-8") == "newer 漢\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["", "/", "/dev/null", "none/x.prom", "x" * 300, "link", "directory"])
def test_a_place_that_cannot_be_a_file_is_refused(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("nowhere")
    Path("directory").mkdir()
    with pytest.raises(errors.BadInput, match="The metrics cannot go to"):
        output_file.refuse_bad_place(Path(place), what="The metrics")


def test_a_write_that_fails_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)  # there is room for it, and none for its temporary name
    path.write_text("older\n")
    with pytest.raises(errors.Failed, match="The metrics cannot be written"):
        output_file.write(path, "newer\n", what="The metrics", mode=0o644)
    assert (path.read_text(), list(tmp_path.iterdir())) == ("older\n", [path])
