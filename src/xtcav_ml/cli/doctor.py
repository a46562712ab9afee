import sys

GROUP = "Installation"
EXAMPLES = ("xtcav doctor  # also with `> report.txt`, for a bug report",)


def doctor() -> None:
    """Say what is wrong with installation, store, DVC and git.

    Prints one block for a bug report: versions, processor, GPU, commit, store, DVC's cache, room on the disk. It has no
    passwords, and your home folder is `~` in it. Does to the store what any command on runs does. Exit code 1 if something is
    wrong.
    """
    from xtcav_ml.lineage import project
    from xtcav_ml.tools import doctor as tool

    sys.exit(0 if tool.examine(project.find_root()) else 1)
