"""describe: the network of params.yaml as the notes print theirs, before anything runs."""

from xtcav_ml.config.params_file import Params
from xtcav_ml.learning import layer_plan
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system.progress import console, titled_table


def describe_network(params: Params) -> None:
    """Print each layer with its shape, parameters, memory and operations, and what a training step needs.

    Raises UserError if the network cannot be built on the frames.
    """
    spec = LearningSpec.of(params.prepare, params.data.raw_shape, dark=None)
    ends = layer_plan.Ends.of(spec)
    layers, batch, screen = layer_plan.plan_layers(params.train.model, ends), params.train.batch_size, console()
    total, operations = layer_plan.parameter_count(layers), sum(layer.operations for layer in layers)
    frames = "frames of " if spec.has_frames else ""
    title = f"{params.train.model.name} on {frames}{spec.size}, minibatches of {batch}"
    headings = ("layer", "output", "parameters", "share", "output, MB", "Mflop a shot", "share")
    table = titled_table(title, headings, {"layer"})
    for column in table.columns:
        column.no_wrap = True
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
    screen.print(table)
    convolutions = sum(layer.parameters for layer in layers if "conv" in layer.name)
    fused = layer_plan.fused(layers, params.train.precision)
    step_bytes = layer_plan.step_memory(fused, batch)
    screen.print(
        f"{total:,} parameters, {convolutions:,} ({convolutions / total:.0%}) in convolutions; {operations / 1e6:,.1f} million "
        f"operations a shot forward; a training step of {batch} shots needs about {step_bytes / 1e6:,.0f} MB, the process with "
        f"its libraries {(step_bytes + layer_plan.LIBRARY_BYTES) / 1e6:,.0f} MB"
    )
    if fused is not layers:
        stock = layer_plan.step_memory(layers, batch)
        screen.print(
            f"on a CPU, where the first convolution and pooling are one; on a GPU a step needs {stock / 1e6:,.0f} MB"
        )
