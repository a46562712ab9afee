"""Keras' description of a network, as a model file has it: what may be in it, and the layers that it lists; needs no Keras."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.learning.layer_plan import LAYERS

MODULES = {"keras.initializers", "keras.regularizers", "keras.constraints"}
OBJECTS = {("keras.src.models.functional", "Functional"), ("keras", "DTypePolicy")}
OBJECTS |= {("keras.layers", kind) for kind in LAYERS.split()}
"""Modules, and objects by module and class, that a network may be put together of: none runs code of its own or of a file."""

TENSOR = "__keras_tensor__"  # Keras' name of the output of another layer

MOST_LAYERS = 1000

OF_CONVOLUTION = {"data_format": "channels_last", "dilation_rate": [1, 1], "groups": 1, "use_bias": True}
OF_NORM = {"axis": -1, "center": True, "scale": True, "renorm": False}
UNDERSTOOD: dict[str, tuple[str, Mapping[str, Any]]] = {
    "InputLayer": ("batch_shape dtype", {"sparse": False, "ragged": False, "optional": False}),
    "Normalization": ("", {"invert": False, "mean": None, "variance": None}),
    "Rescaling": ("scale offset", {}),
    "GaussianNoise": ("", {}),
    "Conv2D": ("kernel_size strides filters padding", {"activation": "linear", **OF_CONVOLUTION}),
    "BatchNormalization": ("epsilon", OF_NORM),
    "Activation": ("activation", {}),
    "AveragePooling2D": ("pool_size strides padding", {"data_format": "channels_last"}),
    "MaxPooling2D": ("pool_size strides padding", {"data_format": "channels_last"}),
    "Dropout": ("", {}),
    "Flatten": ("", {"data_format": "channels_last"}),
    "Concatenate": ("", {"axis": -1}),
    "Dense": ("units activation", {"use_bias": True, "quantization_config": None}),
}
"""By class what decides what a layer computes: options of any value, and those of the one value that is understood."""

INERT = {"name", "trainable", "dtype", "axis", "momentum", "renorm_momentum", "renorm_clipping", "synchronized"}
INERT |= {"rate", "noise_shape", "stddev", "seed"}
INERT_ENDS = ("_initializer", "_regularizer", "_constraint")
"""Options that decide nothing once a network is trained, or that are checked otherwise."""

CALLED = {"training": False, "mask": None}  # how a layer may be called


@dataclass(frozen=True)
class StoredLayer:
    """A layer with its weights."""

    kind: str
    name: str
    inputs: tuple[str, ...]  # names of the layers before it
    options: Mapping[str, Any]
    weights: Sequence[NDArray[np.float32]]


def layers_of(config: Any, weights: Mapping[str, Sequence[NDArray[Any]]]) -> list[StoredLayer]:
    """Return the layers of a network in order; `weights` are the values of a layer by its name.

    Raises ValueError, or another error of Python's, if anything in it is not understood. That says nothing else: Keras may know
    the network, or refuse it.
    """
    layers = [_layer(node, weights.get(node["name"], ())) for node in config["config"]["layers"]]
    named = all(place == [name, 0, 0] for name, place in config["config"]["input_layers"].items())
    if not named or len({layer.name for layer in layers}) < len(layers):
        raise ValueError("layers of equal names, or inputs by other names")
    return layers


def outputs_of(config: Any) -> dict[str, str]:
    """Return the name of the layer of each output."""
    return {head: name for head, (name, node, index) in config["config"]["output_layers"].items()}


def _layer(node: Any, weights: Sequence[NDArray[Any]]) -> StoredLayer:
    """Raises an error of any kind if it is not understood."""
    kind, config = node["class_name"], node["config"]
    deciding, fixed = UNDERSTOOD[kind]
    others = config.keys() - {*deciding.split()} - fixed.keys()
    if unknown := {name for name in others - INERT if not name.endswith(INERT_ENDS)}:
        raise ValueError(f"options {unknown}")
    if any(config[name] != value for name, value in fixed.items()) or node["name"] != config["name"]:
        raise ValueError(f"other options of {kind}")
    if kind != "InputLayer" and config["dtype"]["config"] != {"name": "float32"}:
        raise ValueError("another precision")
    if any(values.dtype != np.float32 for values in weights[:2]):
        raise ValueError("weights of another precision")
    return StoredLayer(kind, config["name"], _inputs(node), {name: config[name] for name in deciding.split()}, weights)


def _inputs(node: Any) -> tuple[str, ...]:
    if not node["inbound_nodes"]:
        return ()
    ((call),) = node["inbound_nodes"]
    (given,) = call["args"]
    histories = [each["config"]["keras_history"] for each in (given if isinstance(given, list) else [given])]
    if not call["kwargs"].items() <= CALLED.items() or any(history[1:] != [0, 0] for history in histories):
        raise ValueError("called in another way")
    return tuple(str(history[0]) for history in histories)


def require_known(config: Any) -> None:
    """Raise ValueError unless all objects in Keras' description of a network are of MODULES and OBJECTS."""
    if not isinstance(config, dict) or (config.get("module"), config.get("class_name")) not in OBJECTS:
        raise ValueError("no network")
    if len(config["config"]["layers"]) > MOST_LAYERS:
        raise ValueError(f"{len(config['config']['layers']):,} layers")
    waiting: list[Any] = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            kind = node.get("module"), node.get("class_name")
            known = kind in OBJECTS or kind[0] in MODULES or kind in ((None, None), (None, TENSOR))
            if not known or node.get("registered_name") not in (None, kind[1]):
                raise ValueError(f"the object {kind[1]!r} of {kind[0]!r}")
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
