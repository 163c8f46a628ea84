"""dbmod itself: its configuration, completion in the shell, the demonstration."""

import click
import msgspec

from dbmod import config
from dbmod.cli import options, output

WHOLE_NAMES = {  # click's scripts for bash and fish take a name with a space, a quote, a star or a comma apart
    "COMPREPLY+=($value)": 'COMPREPLY+=("$(printf %q "$value")")',
    'string split ","': 'string split --max 1 ","',
}
CONFIGURED = ("Key", "Value", "Source")


@options.command("config", example="dbmod config")
@options.shown(*CONFIGURED)
def configuration(*, view: output.View) -> None:
    """Show every setting, and where its value came from; secrets are no settings."""
    loaded = config.load()
    values = config.shown(loaded.settings)
    rows = [(key, _value(view, values[key]), loaded.sources[key]) for key in sorted(values)]
    output.table(view, CONFIGURED, rows)


@options.command(
    "completion",
    example='eval "$(dbmod completion bash)"    # in ~/.bashrc\n'
    'eval "$(dbmod completion zsh)"     # in ~/.zshrc, behind compinit\n'
    "dbmod completion fish | source     # in ~/.config/fish/config.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> None:
    """Print the script that completes commands, options and names in a shell."""
    from click.shell_completion import get_completion_class

    from dbmod import cli

    completer = get_completion_class(shell)
    if completer is not None:
        script = completer(cli.commands, {}, "dbmod", cli.COMPLETE).source()
        for theirs, ours in WHOLE_NAMES.items():
            script = script.replace(theirs, ours)
        output.text(script + "\n")


@options.command("demo", example="dbmod demo\ndbmod demo --provider openstack")
@options.provider
@click.option("--keep", is_flag=True, help="Leave its servers and its ledger, and say how to use them.")
def demo(*, provider: str | None, keep: bool) -> int:
    """Run the OpenStack Trove module guide on real servers, explained step by step."""
    from dbmod import demo as demonstration

    return demonstration.main(provider=provider or config.load().settings.provider, keep=keep)


def _value(view: output.View, value: object) -> object:
    """Show lists and mappings as JSON, which is how a variable gives them."""
    if view.format in output.STRUCTURED or not isinstance(value, dict | list | tuple):
        return value
    if isinstance(value, dict) and view.format == "table":
        return f"{', '.join(value)}: see flavor-list"
    return msgspec.json.encode(value).decode()
