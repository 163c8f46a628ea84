"""Promise R11: nothing that a user or a host wrote is ever templated, neither by the command nor by plain Ansible."""

import json
from collections.abc import Iterator

import msgspec
import pytest

from dbmod import ids
from dbmod.records import Instance
from tests import builders, figures
from tests.end_to_end.sites import Site
from tests.faults import checker

pytestmark = pytest.mark.patient

SPELLINGS = {
    "lookup": "{{ lookup('pipe', 'touch CANARY') }}",
    "query": '{{ query("pipe", "touch CANARY") }}',
    "tight": "{{lookup('ansible.builtin.pipe','touch CANARY')}}",
    "block": "{% if lookup('pipe', 'touch CANARY') %}x{% endif %}",
    "comment": "{# x #}{{ q('pipe', 'touch CANARY')[0] }}",
}
TYPE = '''"""Says what it is given, and writes what it is given into its own result."""
from ansible.module_utils import dbmod_kit as kit

DECLARES = kit.Declares()


def validate(contents):
    pass


def apply(contents, host):
    text = contents.decode()
    if text.startswith("refuse"):
        raise kit.Refused(text[6:])
    return kit.Outcome(changed=True, message=text)


def remove(contents, host):
    raise kit.Refused(contents.decode())


def query(host):
    return ""


if __name__ == "__main__":
    kit.main(validate, apply, remove, query)
'''
KEPT = ("instance", "machine", "module", "type", "created", "updated", "removed", "status", "sha256")
fields: set[str] = set()


class Evil:
    """A site with an instance for each spelling, which stands in every text that a person can give.

    texts  with the path of the file that must never be there
    names  for fields that refuse "/": the shell would take the path from the environment
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.canary = site.directory / "canary"
        self.texts = {key: one.replace("CANARY", str(self.canary)) for key, one in SPELLINGS.items()}
        self.names = {key: one.replace("CANARY", "$DBMOD_TEST_CANARY") for key, one in SPELLINGS.items()}
        site.environment |= {"DBMOD_TEST_CANARY": str(self.canary), "DBMOD_ACTOR": self.texts["lookup"]}
        (site.types / "dbmod_say.py").write_text(TYPE)

    def add_instances(self) -> None:
        hosts = self.site.add_hosts(len(self.names))
        for number, (host, text) in enumerate(zip(hosts, self.names.values(), strict=True)):
            cluster = builders.cluster(text, id=ids.new_id(), region=text, tenant=text, locality=text)
            one = msgspec.structs.replace(
                host, name=text, tenant=text, region=text, availability_zone=text, locality=text, volume_type=text,
                nics=(f"net-id={text}",), fault=text, cluster_id=cluster.id if number % 2 else None,
            )  # fmt: skip
            with self.site.context.store.transaction(holder="test") as tables:
                tables.put(one, cluster)
        fields.update(
            f"instance {name}" for name in ("name", "tenant", "region", "zone", "locality", "volume", "nic", "fault")
        )
        fields.update({"cluster name", "cluster tenant", "cluster region", "cluster locality"})

    def add_modules(self) -> list[str]:
        """Register one that says its spelling, one that refuses with it, and a ping, for each spelling."""
        contents = self.site.directory / "contents"
        made = []
        for key, name in self.names.items():
            kinds = (("say", ""), ("say", "refuse"), ("ping", "message="))
            for number, (kind, start) in enumerate(kinds):
                contents.write_text(start + self.texts[key])
                module = f"{name}{number}"
                words = ("module-create", module, kind, str(contents), "--live_update", "--description", name)
                self.site.well(*words, "--datastore", "redis") if number else self.site.well(*words)
                made.append(module)
        fields.update({"contents", "module name", "description"})
        return made

    def forge_results(self) -> None:
        """Write the spellings into every text of every result.json."""
        for key, name in self.names.items():
            folder = checker.folder_of(self.site.instance(name), self.site.module(f"{name}0"))
            before = json.loads((folder / "result.json").read_bytes())
            forged = {field: self.texts[key] if isinstance(value, str) else value for field, value in before.items()}
            (folder / "result.json").write_text(json.dumps(forged | {field: before[field] for field in KEPT}))
            self.site.broken.add(name)
        fields.add("result.json")


@pytest.fixture
def evil(site: Site) -> Iterator[Evil]:
    made = Evil(site)
    yield made
    assert not made.canary.exists()


def test_nothing_is_templated_by_the_command(evil: Evil) -> None:
    site, text, name = evil.site, evil.texts["query"], evil.names["tight"]
    evil.add_instances()
    modules = evil.add_modules()
    chosen = [word for module in modules for word in ("--module", module)]
    assert site.dbmod("module-apply", "--all", *chosen, "--reason", text, "-vv").code == 1
    shown = site.well("module-query", "--all", "-f", "json").json()
    assert {one["Message"] for one in shown} == set(evil.texts.values())
    site.well("module-reapply", modules[0], "--force", "--include_clustered", "--reason", text)
    assert site.dbmod("module-remove", name, modules[0], "--reason", text).code == 1  # the type refuses, with its text
    site.well("module-retrieve", name, "--directory", str(site.directory / evil.names["block"]), "--prefix", name)
    fields.update({"reason", "actor", "message", "refusal", "directory", "prefix"})
    evil.forge_results()
    assert site.well("module-query", "--all", "-vv")
    assert site.dbmod("reconcile", "--all", "--reason", text).code in (0, 1)
    for words in (
        ("list",),
        ("history", modules[1]),
        ("cluster-list",),
        ("module-list",),
        ("run-list",),
        ("show", name),
    ):
        site.well(*words)


def test_nothing_is_templated_by_plain_ansible(evil: Evil) -> None:
    site = evil.site
    evil.add_instances()
    modules = evil.add_modules()
    listed = site.ansible("ansible-inventory", "--list", "--export")
    assert listed.code == 0, listed.said
    assert set(json.loads(listed.out)["_meta"]["hostvars"]) == {one.id for one in site.find(Instance)}
    variables = site.directory / "variables.json"
    for given in (
        {"all_instances": True, "modules": modules},
        {"instance": evil.names["block"], "modules": modules[0]},
    ):
        variables.write_text(json.dumps(given | {"reason": evil.texts["comment"], "limit_to": evil.names["lookup"]}))
        site.playbook("module_apply", "-e", f"@{variables}", "-vv")
    by_id = {"all_instances": True, "modules": [site.module(one).id for one in modules if one.endswith(("0", "2"))]}
    variables.write_text(json.dumps(by_id))
    ended = site.playbook("module_apply", "-e", f"@{variables}", "-vv")
    assert ended.code == 0, ended.said
    evil.forge_results()
    ended = site.playbook("module_query", "-e", json.dumps({"all_instances": True}), "-vv")
    assert ended.code == 0, ended.said
    fields.update({"playbook variables", "inventory plugin"})


def test_each_spelling_runs_where_ansible_trusts_a_text(evil: Evil) -> None:
    """So its silence above says something."""
    tasks, traces = [], []
    for text in (*evil.texts.values(), *evil.names.values()):
        traces.append(evil.site.directory / f"trace-{len(traces)}")
        msg = text.replace(str(evil.canary), str(traces[-1])).replace(
            "$DBMOD_TEST_CANARY", f"$DBMOD_TEST_CANARY-{traces[-1].name}"
        )
        tasks.append({"ansible.builtin.debug": {"msg": msg}, "ignore_errors": True})
    play = evil.site.directory / "play.yml"
    play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    evil.site.ansible("ansible-playbook", str(play), DBMOD_TEST_CANARY=str(evil.site.directory / "sung"))
    sung = {path.name.removeprefix("sung-") for path in evil.site.directory.glob("*trace-*")}
    assert sung == {trace.name for trace in traces}
    figures.figure(
        "R11", f"0 of {len(SPELLINGS)} spellings ran in {len(fields)} fields, by the command, playbooks and inventory"
    )
