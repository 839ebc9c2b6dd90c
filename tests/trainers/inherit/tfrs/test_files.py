"""What is said of a TFRS model that cannot move over, on checkpoints of objects that look like those of Keras 2."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml
from typer.testing import CliRunner

from tfstable.errors import InputError
from tfstable.inputs.preprocessor import Preprocessor
from trainers.cli.app import app
from trainers.config import InitConfig, load
from trainers.inherit.opening import open_source
from trainers.inherit.sample import rebuilt
from trainers.inherit.tfrs.inputs import read_input
from trainers.inherit.tfrs.objects import Objects
from trainers.inherit.tfrs.proposal import proposal
from trainers.inherit.tfrs.scores import difference
from trainers.inherit.tfrs.source import TfrsSource
from trainers.inherit.tfrs.spec import InputSpec, TaskLayers, TfrsModel

USERS = ["ann", "bob", "cid"]


class Object(tf.Module):
    """An object with the given attributes, as a checkpoint sees a layer."""

    def __init__(self, **attributes):
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name.replace("layer_", "layer-"), value)


def dense(rows, units):
    return Object(kernel=tf.Variable(tf.random.normal([rows, units])), bias=tf.Variable(tf.random.normal([units])))


def embedding(rows, dim):
    return Object(embeddings=tf.Variable(tf.random.normal([rows, dim])))


def lookup():
    return Object(lookup_table=Object())


GOOD = {
    "checkpoint": "model",
    "inputs": {
        "user": {"layers": "user", "vocabulary": "users.txt"},
        "hour": {"layers": "hour", "boundaries": [6, 18]},
        "price": "price",
    },
    "cross": "cross",
    "bottom": ["deep/layer-0"],
    "tasks": {"click": {"kind": "binary", "layers": "head"}},
    "optimizer": None,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tfrs")
    model = Object(
        user=Object(layer_0=lookup(), layer_1=embedding(4, 3)),
        hour=Object(layer_0=Object(bin_boundaries=Object()), layer_1=embedding(3, 2)),
        price=Object(mean=tf.Variable(5.0), variance=tf.Variable(4.0)),
        cross=Object(_dense=dense(6, 6)),
        deep=Object(layer_0=dense(6, 5), layer_1=Object(gamma=tf.Variable([1.0]))),
        head=dense(5, 1),
        wide=dense(5, 2),
        small=embedding(2, 3),
        towers=Object(
            click=Object(layer_0=dense(5, 4), layer_1=dense(4, 1)),
            like=Object(layer_0=dense(5, 4), layer_1=dense(4, 1)),
        ),
    )
    tf.train.Checkpoint(model=model).write(str(path / "model"))
    (path / "users.txt").write_text("\n".join(USERS))
    (path / "words.txt").write_text("one\ntwo")
    return path


def source(folder, **changes):
    spec = {**GOOD, **changes}
    (folder / "tfrs.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    return TfrsSource(folder / "tfrs.yaml")


def test_a_directory_with_its_file_is_a_source(folder):
    source(folder)
    found = open_source(InitConfig.model_validate({"from": folder}))
    assert list(found.features) == ["user", "hour", "price"]
    assert found.options.units == (5,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bottom": ["deep/layer-7"]}, "bottom: .* has no object deep/layer-7; near: deep/layer-"),
        (
            {"tasks": {"click": {"kind": "binary", "layers": "haed"}}},
            "tasks.click.layers: .* no object haed; near: head",
        ),
        ({"inputs": {"user": "user"}}, "inputs.user: .* does not hold the vocabulary; .* in inputs.user.vocabulary"),
        ({"inputs": {"hour": "hour"}}, "inputs.hour: .* give them in inputs.hour.boundaries"),
        (
            {"inputs": {"user": {"layers": ["small"], "vocabulary": "users.txt"}}},
            "3 values behind 1 rows for others, but small has only 2 rows",
        ),
        (
            {"inputs": {"user": {"layers": "user", "vocabulary": "words.txt", "type": "int"}}},
            "inputs.user.type: a value of the vocabulary is no integer .*'one'",
        ),
        (
            {"inputs": {"user": {"layers": "user", "vocabulary": "no.txt"}}},
            "inputs.user.vocabulary: .*no.txt cannot be",
        ),
        ({"inputs": {"user": {"layers": "deep/layer-0"}}}, "deep/layer-0 is an object with kernel, bias; an input has"),
        (
            {"inputs": {name: GOOD["inputs"][name] for name in ("user", "hour")}},
            r"cross crosses inputs of width 6, but the inputs \(user \+ hour\) have 5",
        ),
        ({"cross": [], "bottom": ["head"]}, r"head: its kernel has the shape \(5, 1\), but it would read the inputs"),
        ({"bottom": ["deep"]}, "bottom: deep/layer-1 is an object with gamma; only Dense layers move over"),
        ({"cross": "head"}, "cross: head is no tfrs.layers.dcn.Cross; it has kernel, bias"),
        ({"tasks": {"click": {"kind": "binary", "layers": "wide"}}}, "the last one, wide, must be a Dense of 1 unit"),
        ({"activation": "sine"}, "activation: tfstable has no sine; it has gelu, relu"),
        ({"checkpoint": "other"}, "checkpoint: .*other cannot be read"),
        ({"saved_model": "model"}, "give one of saved_model and checkpoint"),
        ({"botom": []}, "botom: unknown key"),
        ({"tasks": {"click": {"kind": "rank", "layers": "head"}}}, "tasks.click.kind: Input should be 'binary' or"),
    ],
)
def test_what_does_not_fit_is_named(folder, changes, words):
    with pytest.raises(InputError, match=words):
        source(folder, **changes)


def test_rows_of_unknown_and_missing_values(folder):
    """A lookup with a mask and two rows of unknown values, of which one row with their mean is left."""
    objects = Objects(None, folder / "model")
    found = read_input(objects, "user", InputSpec(layers=("user",), vocabulary=folder / "words.txt", oov=1, mask=True))
    table = np.arange(12.0).reshape(4, 3)  # Mask, unknown, "one", "two".
    np.testing.assert_array_equal(found.turn(table), table[1:])
    assert "missing values had a row of their own" in (found.remark or "")
    found = read_input(objects, "user", InputSpec(layers=("user",), vocabulary=folder / "words.txt", oov=2))
    np.testing.assert_array_equal(found.turn(table), np.concatenate([[(table[0] + table[1]) / 2], table[2:]]))
    assert "2 rows of unknown values become one" in (found.remark or "")


def test_every_value_finds_its_row(folder):
    """User rows, and buckets of hours, through tfstable's own preprocessing."""
    found = source(folder)
    raw = {
        "user": tf.constant(["bob", "dan", "", "cid"]),
        "hour": tf.constant([5.9, 6.0, 18.0, np.nan]),
        "price": tf.constant([5.0, 7.0, 1.0, 5.0]),
    }
    inputs = Preprocessor(dict(found.features), found.statistics)(raw)
    users, hours = (
        found.objects.value(found.objects.find(f"{name}/layer-1/embeddings", "")) for name in ("user", "hour")
    )
    np.testing.assert_array_equal(found.weight("embeddings/tables_3")[inputs["user"]], users[[2, 0, 0, 3]])
    np.testing.assert_array_equal(found.weight("embeddings/tables_2")[inputs["hour"]], hours[[0, 1, 2, 2]])
    np.testing.assert_allclose(inputs["price"], [0, 1, -2, 0])


def test_two_tasks_against_numpy(folder):
    """Numbers before embeddings, cross layers with a diagonal, a shared layer and towers."""
    names = {"price": "price", "hour": GOOD["inputs"]["hour"], "user": GOOD["inputs"]["user"]}
    tasks = {name: {"kind": "binary", "layers": f"towers/{name}"} for name in ("click", "like")}
    found = source(folder, inputs=names, tasks=tasks, diag_scale=0.5)
    objects = found.objects

    def layer(path: str, x: np.ndarray) -> np.ndarray:
        return x @ objects.value(objects.find(f"{path}/kernel", "")) + objects.value(objects.find(f"{path}/bias", ""))

    users, hours, price = np.array([1, 3, 0]), np.array([0, 2, 1]), np.array([0.5, -1.0, 2.0], np.float32)
    user, hour = (objects.value(objects.find(f"{name}/layer-1/embeddings", "")) for name in ("user", "hour"))
    x = np.concatenate([price[:, None], hour[hours], user[users]], axis=1)
    x = x * (layer("cross/_dense", x) + 0.5 * x) + x
    x = np.maximum(layer("deep/layer-0", x), 0)
    inputs = {"user": tf.constant(users), "hour": tf.constant(hours + 1), "price": tf.constant(price)}
    logits = rebuilt(found, averaged=False).logits(inputs, training=False)
    for name in tasks:
        hidden = np.maximum(layer(f"towers/{name}/layer-0", x), 0)
        np.testing.assert_allclose(logits[name], layer(f"towers/{name}/layer-1", hidden)[:, 0], rtol=1e-5, atol=1e-5)


def test_a_config_of_a_checkpoint(folder):
    found = source(folder, optimizer="optimizer")
    printed = proposal(found)
    (folder / "config.yaml").write_text(printed)
    config = load(folder / "config.yaml")
    assert (config.features, config.tasks) == (found.features, found.tasks)
    assert (config.init.source, config.model.units, config.model.cross_depth) == (folder / "tfrs.yaml", (5,), 1)
    assert "the class of the optimizer is not saved; set its rule" in printed
    assert difference(found) == "a checkpoint has no signature"


def test_the_command_needs_the_file(tmp_path):
    with pytest.raises(InputError, match=r"neither a YAML file nor a directory with tfrs\.yaml"):
        CliRunner().invoke(app, ["from-tfrs", str(tmp_path)], catch_exceptions=False)


def test_the_docs_have_every_key():
    page = (Path(__file__).parents[4] / "docs" / "howto" / "from-tfrs.md").read_text()
    for key in (*TfrsModel.model_fields, *InputSpec.model_fields, *TaskLayers.model_fields):
        assert re.search(rf"`([\w.]+\.)?{key}`", page), key
