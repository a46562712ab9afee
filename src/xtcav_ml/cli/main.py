"""The program `xtcav`: each other file of this folder is one command, the function that has the file's name."""

import importlib
import itertools
import pkgutil
import sys
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from xtcav_ml import cli
from xtcav_ml.config.paths import STAGES
from xtcav_ml.lineage import project
from xtcav_ml.system import first_word, interrupts, parent_process, streams, variables
from xtcav_ml.system.errors import as_user_error, warn

GROUPS = ("Pipeline stages", "Parameters", "Data", "Models", "Results", "Search", "Tracking", "Installation")
"""Headings of the help, in this order; a command's file names its own as GROUP."""

ORDER = ("fingerprint", "validate", *STAGES, "record")
"""Commands that come first in their group, in this order; the others come in that of the alphabet."""


class Grouped(TyperGroup):
    """Its help lists the commands by group, in plain text: Typer's own panels need rich, which takes 0.1 s to import."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each group."""
        commands: dict[str, Any] = dict(self.commands)
        width = max(map(len, commands))
        for group, members in itertools.groupby(commands.items(), lambda item: item[1].rich_help_panel):
            with formatter.section(group):
                limit = formatter.width - 4 - width
                formatter.write_dl([(f"{name:{width}}", one.get_short_help_str(limit)) for name, one in members])


NOTHING_HALF = "nothing is left half done; the same command starts anew"
"""What a stopped command says of its work, unless its file says more as KEPT."""


def _command(module: ModuleType) -> type[TyperCommand]:
    """Return the class of a command, whose help ends with the EXAMPLES of its file, and which says what a stop has left."""

    class Command(TyperCommand):
        def format_epilog(self, ctx: Any, formatter: Any) -> None:
            with formatter.section("Examples"):
                for example in module.EXAMPLES:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")

        def invoke(self, ctx: Any) -> Any:
            with first_word.within_a_second(str(self.name)):
                try:
                    return super().invoke(ctx)
                except KeyboardInterrupt:
                    warn(f"{self.name}: stopped: {getattr(module, 'KEPT', NOTHING_HALF)}")
                    raise

    return Command


def files() -> list[str]:
    """Return the names of the files that hold a command."""
    return sorted(name for _, name, _ in pkgutil.iter_modules(cli.__path__) if name != "main")


def _print_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        print(f"xtcav {importlib.metadata.version('xtcav-ml')}")
        raise typer.Exit


def application(names: list[str]) -> typer.Typer:
    """Return the program with the commands of these files, which it imports."""
    app = typer.Typer(
        cls=Grouped,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={
            "help_option_names": ["-h", "--help"],
            # of an option without a default Typer asks pydantic, whose import takes as long as all else here
            "default_map": {"help": False} | {name.replace("_", "-"): {"help": False} for name in names},
        },
    )

    @app.callback()
    def xtcav(
        version: Annotated[bool, typer.Option("--version", callback=_print_version, help="Print the version.")] = False,
    ) -> None:
        """Learn from XTCAV shot images. Parameters are in params.yaml; `make repro` runs the pipeline stages in order."""

    modules = {
        name: importlib.import_module(f"xtcav_ml.cli.{name}") for name in sorted(names, key=[*ORDER, *files()].index)
    }
    for name, module in sorted(modules.items(), key=lambda item: GROUPS.index(item[1].GROUP)):
        app.command(name.replace("_", "-"), cls=_command(module), rich_help_panel=module.GROUP)(getattr(module, name))
    return app


def main() -> None:
    """Run a command with the project's own code; a user's mistake is one line and exit code 1, never a traceback.

    Imports only the file of that command; all of them for the help. SIGTERM, with which batch systems end a job, and
    SIGHUP of a closed terminal act as Ctrl-C: the present step ends in order. A stage whose `dvc` is killed ends with it.
    """
    interrupts.listen()
    command = "".join(sys.argv[1:2]).replace("-", "_")
    try:
        with streams.forgiving():
            variables.pin_process()
            parent_process.end_with_dvc()
            project.require_own_code()
            application([command] if command in files() else files())()
    except KeyboardInterrupt:  # before Typer, which handles it the same way
        sys.exit(130)
    except Exception as error:
        try:
            line = as_user_error(error)
        except Exception:
            if not interrupts.requested():
                raise
            # Python wraps a request that comes while a class is made, and C++ code raises an error of its own in its place.
            sys.exit(130)
        warn(line)
        sys.exit(1)
    finally:
        interrupts.leave()
