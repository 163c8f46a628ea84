"""Files of tasks of the user's, as Ansible itself reads them."""

from pathlib import Path

import pytest

from dbmod import errors, task_files
from dbmod.paces import Pace


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ("- name: Drain it\n  nosuchmodule: {}\n", "couldn't resolve module/action 'nosuchmodule'"),
        ("- hosts: all\n  tasks: []\n", "conflicting action statements: hosts, tasks"),
        ("drain: [it, CANARY\n", "YAML parsing failed"),
        ("drain it\n", "must contain a list of tasks"),
    ],
)
def test_what_ansible_cannot_take_is_refused_without_a_word_of_it(tmp_path: Path, tasks: str, said: str) -> None:
    file = tmp_path / "after.yml"
    file.write_text(tasks)
    with pytest.raises(errors.BadInput) as refusal:
        task_files.refuse_unusable(Pace(after_host=str(file)))
    assert refusal.value.what.startswith(f"--after-host: {file} is no list of tasks")
    assert said in refusal.value.details["ansible"]
    assert refusal.value.details["at"].startswith(str(file))
    assert "CANARY" not in "".join(refusal.value.lines())


@pytest.mark.parametrize(
    "tasks",
    [
        "",
        "$ANSIBLE_VAULT;1.1;AES256\n3162\n",
        "- name: Of this host\n  ansible.builtin.debug: {msg: '{{ not_known_yet }}'}\n  delegate_to: '{{ proxy }}'\n",
    ],
)
def test_what_is_known_only_on_a_host_is_not_refused(tmp_path: Path, tasks: str) -> None:
    file = tmp_path / "before.yml"
    file.write_text(tasks)
    task_files.refuse_unusable(Pace(before_host=str(file)))
