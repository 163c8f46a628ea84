"""The variables of each playbook, declared in playbooks/argument_specs/, read by Ansible's own validator."""

from collections.abc import Mapping
from typing import Any

from dbmod import doors, errors, paths, yaml_file

EMPTY = ("", None)  # an answer of a survey that was left out


def playbooks() -> list[str]:
    """List the playbooks that plan by themselves: those with a specification."""
    return sorted(path.stem for path in (paths.content() / "playbooks" / "argument_specs").glob("*.yml"))


def specification(playbook: str) -> dict[str, Any]:
    """Give {"short_description": …, "options": …} of a playbook, in the form of roles' argument specs."""
    path = paths.content() / "playbooks" / "argument_specs" / f"{playbook}.yml"
    found: dict[str, Any] = yaml_file.read(path)["argument_specs"]["main"]
    return found


def read(playbook: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Take a playbook's variables out of those that were given, checked and with their defaults.

    given    anything by any name; what is empty counts as unset
    Returns  those that are set, with their declared types
    Raises   BadInput naming the variable
    """
    from ansible.module_utils.common.arg_spec import ArgumentSpecValidator  # 60 ms where Ansible is not there already

    options = specification(playbook)["options"]
    wanted = _set({name: doors.plain(given[name]) for name in options if name in given})
    try:
        checked = ArgumentSpecValidator(options).validate(wanted)
    except OverflowError as error:  # how the validator fails at `inf`
        numbers = sorted(name for name in wanted if options[name]["type"] == "int")
        raise errors.BadInput(f"{playbook}: not a whole number: one of {', '.join(numbers)}") from error
    if checked.error_messages:
        raise errors.BadInput(
            f"{playbook}: {'; '.join(checked.error_messages)}",
            details={"variables": ", ".join(sorted(options))},
            next_step='-e NAME=VALUE gives a variable, -e \'{"NAME": ["a", "b"]}\' a list',
        )
    return _set(checked.validated_parameters)


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is unset, in the members of a list too."""
    return {name: _inside(value) for name, value in values.items() if value not in EMPTY}


def _inside(value: Any) -> Any:
    if isinstance(value, list):
        return [_set(one) if isinstance(one, Mapping) else one for one in value if one not in EMPTY]
    return value
