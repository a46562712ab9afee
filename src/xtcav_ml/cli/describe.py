GROUP = "Parameters"
EXAMPLES = ("xtcav describe",)


def describe() -> None:
    """Show the network of params.yaml: layers, sizes, memory."""
    from xtcav_ml.config import params_file
    from xtcav_ml.tools import describe as tool

    tool.describe_network(params_file.load_params())
