"""describe: the network of params.yaml as the notes print theirs, before anything runs."""

from rich.table import Table

from xtcav_ml.config.params_file import Params
from xtcav_ml.learning import layer_plan
from xtcav_ml.science.spec import Meaning
from xtcav_ml.system.progress import console


def run(params: Params) -> None:
    """Print each layer with its shape, parameters, memory and operations, and what a training step needs.

    Raises UserError if the network cannot be built on the frames.
    """
    ends = layer_plan.Ends.of(Meaning.of(params.prepare, params.data.frame_shape, dark=None))
    layers = layer_plan.plan(params.train.model, ends)
    batch = params.train.batch_size
    total, operations = layer_plan.parameter_count(layers), sum(layer.operations for layer in layers)
    table = Table(
        title=f"{params.train.model.name} on frames of {ends.frame_shape[0]} x {ends.frame_shape[1]}, minibatches of {batch}",
        title_justify="left",
        title_style="",
    )
    for heading in ("layer", "output", "parameters", "share", "output, MB", "Mflop a shot", "share"):
        table.add_column(heading, justify="left" if heading == "layer" else "right", no_wrap=True)
    for layer in layer_plan.counted(layers):
        table.add_row(
            layer.name,
            "x".join(map(str, layer.shape)),
            f"{layer.parameters:,}",
            f"{layer.parameters / total:.0%}",
            f"{batch * layer.memory / 1e6:,.2f}",
            f"{layer.operations / 1e6:,.3f}",
            f"{layer.operations / operations:.0%}",
        )
    screen = console()
    screen.print(table)
    convolutions = sum(layer.parameters for layer in layers if "conv" in layer.name)
    fused = layer_plan.fused(layers, params.train.precision)
    needed = layer_plan.step_memory(fused, batch)
    screen.print(
        f"{total:,} parameters, {convolutions:,} ({convolutions / total:.0%}) in convolutions; {operations / 1e6:,.1f} million "
        f"operations a shot forward; a training step of {batch} shots needs about {needed / 1e6:,.0f} MB, the process with "
        f"its libraries {(needed + layer_plan.LIBRARIES) / 1e6:,.0f} MB"
    )
    if fused is not layers:
        stock = layer_plan.step_memory(layers, batch)
        screen.print(
            f"on a CPU, where the first convolution and pooling are one; on a GPU a step needs {stock / 1e6:,.0f} MB"
        )
