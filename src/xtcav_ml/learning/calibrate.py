"""A trained network whose probabilities are as right as they say, and what else it can state, both from the validation set."""

from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning.backend import keras
from xtcav_ml.learning.batches import predict_all
from xtcav_ml.learning.layer_plan import CLASS_HEAD, NUMBER_HEAD
from xtcav_ml.science import statements
from xtcav_ml.science.statements import Statements


def calibrate(model: keras.Model, validation: PreparedFile, coverage: float) -> Statements:
    """Divide the weights of the model's layer of classes by a temperature, and return its statements.

    The layers stay as they are, and so does the likeliest class of every shot. `coverage` is that of sets and intervals.
    """
    outputs = predict_all(model, validation)
    temperature, least = None, list[float]()
    if validation.classes:
        temperature = statements.temperature(validation.labels, outputs[CLASS_HEAD])
        layer = model.get_layer(CLASS_HEAD)
        layer.set_weights([values / temperature for values in layer.get_weights()])
        probabilities = statements.tempered(outputs[CLASS_HEAD], temperature)
        least = statements.least_probabilities(validation.labels, probabilities, coverage)
    widths = [
        statements.half_width(validation.targets[:, i], outputs[NUMBER_HEAD][:, i], coverage)
        for i in range(len(validation.spec.regression))
    ]
    return Statements(coverage=coverage, temperature=temperature, least=tuple(least), half_width=tuple(widths))
