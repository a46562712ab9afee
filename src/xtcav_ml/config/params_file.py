"""All sections of params.yaml at once."""

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from xtcav_ml.config import space
from xtcav_ml.config.base import Section, load_section, read_tree
from xtcav_ml.config.compare import CompareParams
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.paths import PARAMS_FILE
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.config.section_problems import unknown_key
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.config.train import TrainParams
from xtcav_ml.config.tune import TuneParams
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError


class Params(BaseModel, frozen=True):
    """params.yaml, valid."""

    data: DataParams
    simulate: SimulateParams
    prepare: PrepareParams
    train: TrainParams
    compare: CompareParams = CompareParams()
    tune: TuneParams


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Return the whole file. Raises UserError with every broken key, and for an invalid name or value in `tune.space`."""
    names = list(Params.model_fields)
    problems = [unknown_key(str(key), names) for key in read_tree(path) if key not in names]
    sections: dict[str, Any] = {}
    for name, field in Params.model_fields.items():
        if name not in read_tree(path) and not field.is_required():
            continue
        try:
            sections[name] = load_section(name, cast(type[Section], field.annotation), path)
        except UserError as error:
            problems.append(str(error).removeprefix(f"{path}: "))
    if problems:
        raise UserError(f"{path}: {'; '.join(problems)}")
    params = Params(**sections)
    try:
        space.require_valid(params.train, params.tune.space)
    except UserError as error:
        raise UserError(f"{path}: tune.space: {str(error).removeprefix(f'{PARAMS_FILE}: ')}") from None
    return params


def write_values(path: Path, changes: Mapping[str, Any]) -> None:
    """Set dotted keys, as `train.blocks.0.kernel`, in the file, and leave all else in it as it is, comments too.

    A key that the file leaves out, since it has a default, is added to its section. A whole number for a list is its length, as
    in a search.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)  # as the file is shipped
    yaml.width = 4096  # never fold a line that the user wrote
    yaml.representer.yaml_representers = {**yaml.representer.yaml_representers, type(None): _null}
    tree = yaml.load(path.read_text())
    for dotted, value in changes.items():
        *keys, last = (int(part) if part.isdigit() else part for part in dotted.split("."))
        node = functools.reduce(lambda parent, key: parent[key], keys, tree)
        if isinstance(node, CommentedMap) and last not in node:
            node.insert(max(len(node) - 1, 0), last, value)  # comments after the last key belong to the next section
        elif isinstance(node[last], CommentedSeq) and isinstance(value, int):
            node[last].extend(copy.deepcopy(node[last][-1]) for _ in range(value - len(node[last])))
            del node[last][value:]
        elif isinstance(node[last], CommentedSeq) and len(node[last]) == len(value):
            for index, item in enumerate(value):  # so that it stays in brackets, with its comment behind them
                node[last][index] = item
        else:
            node[last] = value
    with atomic.replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(tree, file)


def _null(representer: Any, _: None) -> Any:
    """Write null as the file is shipped; ruamel.yaml would leave its place empty."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")
