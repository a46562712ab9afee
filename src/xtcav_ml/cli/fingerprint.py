GROUP = "Pipeline stages"
EXAMPLES = ("xtcav fingerprint", "git diff code/  # which modules changed")


def fingerprint() -> None:
    """Write what decides the bytes of each stage's program.

    One file a program in code/: a hash of the definitions that it uses, without comments, docstrings, layout and messages, and
    the locked versions of its libraries. `git diff code/` names the modules that changed.
    """
    from xtcav_ml.lineage import fingerprint as code
    from xtcav_ml.system.one_writer import writing

    with writing(code.FOLDER):
        changed = code.write_codes()
    print(f"fingerprint: {', '.join(changed) or 'no program'} changed")
