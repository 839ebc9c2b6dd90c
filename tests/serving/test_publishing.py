"""What a run publishes: signatures, card, warm-up requests, and that a rollback stays one."""

import gc
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.serving.runs import LAST, USER, load, start
from tests.trainers import commands
from tfstable.data.arrays import raw_batches
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.serving import card as cards
from tfstable.serving import export, warmup
from tfstable.serving.examples import serialize
from trainers import Run
from trainers.config import weight_keys
from trainers.training.loop import MovingWindow

TASKS = ("click", "follow", "watch_time")


@pytest.fixture(scope="module")
def serving(run) -> export.Serving:
    return export.Serving(run / "export" / "1")


@pytest.fixture(scope="module")
def day(log, serving) -> dict[str, np.ndarray]:
    """Every row of the last day, as raw columns."""
    (batch,) = raw_batches(DayLog(log).units(LAST), serving.columns)
    return batch


def restored(log: Path, run: Path, *overrides: str) -> MovingWindow:
    return Run.open(load(log, *overrides), run).parts(writable=True)


def test_every_signature_predicts_a_whole_day_as_the_trainer_does(log, run, serving, day):
    expected = restored(log, run).state.predict(LAST)
    examples = tf.constant(np.array(serialize(day), object))
    by_example = serving._loaded.signatures["serve_examples"](examples=examples)
    by_column = serving(day)
    for task in TASKS:
        assert expected[task].shape == (500,)
        np.testing.assert_allclose(by_column[task], expected[task], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(by_example[task], expected[task], rtol=1e-6, atol=1e-6)
    for i in (0, 250):  # Two users before all the day's videos.
        ranked = serving({n: v[i : i + 1] if n in USER else v for n, v in day.items()}, "rank")
        alone = serving({n: v[[i] * 500] if n in USER else v for n, v in day.items()})
        for task in TASKS:
            np.testing.assert_allclose(ranked[task], alone[task][ranked["order"]], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ranked["score"], ranked["click"] + 4 * ranked["follow"], rtol=1e-6)
        assert (np.diff(ranked["score"]) <= 0).all()


def test_an_example_without_a_column_has_a_missing_value(serving, day):
    one = {name: values[:1] for name, values in day.items()}
    missing = {"int64": -(2**63), "float32": np.nan, "string": ""}
    for left_out, column in serving.columns.items():
        rest = {name: values for name, values in one.items() if name != left_out}
        got = serving._loaded.signatures["serve_examples"](examples=tf.constant(serialize(rest)))
        absent = np.full_like(one[left_out], missing[column.dtype])
        expected = serving({**rest, left_out: absent})
        for task in TASKS:
            np.testing.assert_allclose(got[task], expected[task], rtol=1e-6, err_msg=left_out)


def test_an_unknown_category_is_the_unknown_bucket(serving, day):
    one = {name: values[:1] for name, values in day.items()}
    new = serving({**one, "category": np.array(["never seen"], object)})
    missing = serving({**one, "category": np.array([""], object)})
    assert {task: float(value[0]) for task, value in new.items()} == {k: float(v[0]) for k, v in missing.items()}


def test_nothing_of_training_is_left(run, serving):
    names = {name for name, _ in tf.train.list_variables(str(run / "export" / "1" / "variables" / "variables"))}
    assert not [name for name in names if not name.startswith(("variables_read/", "_CHECKPOINTABLE_OBJECT_GRAPH"))]
    read = {v.ref() for name in serving.signatures for v in serving._loaded.signatures[name].variables}
    assert len(read) == len(serving._loaded.variables_read) == len(names) - 1
    assert not [v.name for v in serving._loaded.variables_read if "seed" in v.name or "loss" in v.name]
    definition = serving._loaded.signatures["serving_default"].graph.as_graph_def()
    operations = {node.op for graph in (definition, *definition.library.function) for node in _nodes(graph)}
    assert "ResourceGather" in operations
    assert not [op for op in operations if "Random" in op or "Assign" in op or "Dropout" in op or "Apply" in op]


def _nodes(graph):
    return graph.node if hasattr(graph, "node") else graph.node_def


def test_names_types_and_shapes_are_the_configs(run):
    first = export.metadata(run / "export" / "1").signatures
    assert {name: spec["shape"] for name, spec in first["rank"]["inputs"].items()} == {
        **{name: [1] for name in USER},
        **{name: [None] for name in ("video_id", "author_id", "category", "duration_s")},
        "tags": [None, None],
    }
    assert {name: spec["dtype"] for name, spec in first["rank"]["outputs"].items()} == {
        **dict.fromkeys((*TASKS, "score"), "float32"),
        "order": "int32",
    }
    assert first["serve_examples"]["inputs"] == {"examples": {"dtype": "string", "shape": [None]}}
    assert first["serving_default"]["outputs"] == first["serve_examples"]["outputs"]


def test_the_card_tells_what_the_model_is(log, run):
    version = run / "export" / "1"
    card, config = export.metadata(version), load(log)
    assert card.window_end == "2025-01-03"
    assert card.data == {"log": str(log), "first_day": "2025-01-01", "last_day": "2025-01-03"}
    first = json.loads((run / "windows" / "2025-01-02" / "metrics.json").read_text())
    assert card.evaluation == cards.Evaluation(("2025-01-01", "2025-01-02"), "2025-01-03", first["tasks"])
    assert card.config_hash == hashlib.sha256(json.dumps(weight_keys(config), sort_keys=True).encode()).hexdigest()
    assert card.score_weights == {"click": 1.0, "follow": 4.0}
    text = (version / "MODEL_CARD.md").read_text()
    assert f"| click | {first['tasks']['click']['auc']:.4f} |" in text
    assert "| inputs | tags | string | [?, ?] |" in text


def test_warm_up_requests_are_real_rows_for_every_signature(run, day):
    path = run / "export" / "1" / "assets.extra" / "tf_serving_warmup_requests"
    loaded, seen = tf.saved_model.load(str(run / "export" / "1")), []
    for record in tf.data.TFRecordDataset(str(path)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        outputs = loaded.signatures[request.model_spec.signature_name](**inputs)
        assert np.isfinite(outputs["click"]).all()
        seen.append((request.model_spec.signature_name, outputs["click"].shape[0]))
        if request.model_spec.signature_name == "serving_default":
            rows = outputs["click"].shape[0]
            np.testing.assert_array_equal(inputs["user_id"], day["user_id"][:rows])
            assert inputs["category"].astype(str).tolist() == day["category"][:rows].tolist()
    assert seen == [(name, rows) for rows in (1, 100) for name in ("serving_default", "serve_examples", "rank")]


def test_rollback_from_the_command_line_stays_until_the_next_window(log, run, tmp_path, monkeypatch, capsys):
    copy = shutil.copytree(run, tmp_path / "run", symlinks=True)
    shutil.copytree(log, tmp_path / "log")
    shutil.copytree(copy / "export" / "1", copy / "export" / "2")
    for number, day in (("1", "2025-01-02"), ("2", "2025-01-03")):  # As two daily jobs would have left them.
        version = copy / "export" / number
        cards.write(version, replace(export.metadata(version), window_end=day))

    def tfstable(*arguments) -> str:
        status, printed, complaints = commands.tfstable(monkeypatch, capsys, "export", "--model-dir", copy, *arguments)
        assert status == 0, complaints
        return printed

    promoted = " ".join(tfstable("--promote", "1").split())
    assert "a copy of version 1; withdrew the models of 2025-01-03" in promoted
    listed = tfstable("--list").splitlines()
    names = [line.split("│")[1].strip() for line in listed if line.startswith("│")]
    assert [name for name in names if name] == ["3, newest, copy of 1", "2", "1"]  # A row may take two lines.
    start(tmp_path / "log", copy)  # The daily job that finds nothing new.
    assert export.versions(copy / "export") == [1, 2, 3]
    new = tmp_path / "log" / "date=2025-01-04"
    shutil.copytree(log / "date=2025-01-03", new)
    start(tmp_path / "log", copy, "export.keep_versions=2")
    assert export.versions(copy / "export") == [3, 4]
    assert export.metadata(copy / "export" / "4").window_end == "2025-01-04"
    assert export.metadata(copy / "export" / "4").withdrawn == ()


def test_a_model_that_puts_out_no_number_is_not_published(log, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run", symlinks=True)
    shutil.rmtree(copy / "export")
    window = restored(log, copy, "export.gate=null")
    window.state.learner.model.outputs_of["click"].bias.assign([np.nan])
    with pytest.raises(InputError, match="predicts 2025-01-03 differently by nan; not published"):
        window.publish()
    assert export.versions(copy / "export") == []
    (event,) = [json.loads(line) for line in (copy / "events.jsonl").read_text().splitlines()]
    assert event["event"] == "export_refused"


def test_graphs_of_versions_do_not_outlive_them(log, run, day, tmp_path):
    model, kept = restored(log, run).state.learner.model, []
    for _ in range(2):
        version = export.save(
            tmp_path, model, export.ModelCard("2025-01-03"), user_columns=USER, score_weights={"click": 1.0}
        )
        assert export.Serving(version)(day).keys() == set(TASKS)
        gc.collect()
        kept.append(sum(type(found).__name__ == "FuncGraph" for found in gc.get_objects()))
    assert kept[0] == kept[1]


def test_other_weights_of_the_score_and_explain_are_published_once(log, run, day, tmp_path):
    copy, weights = shutil.copytree(run, tmp_path / "run", symlinks=True), {"click": 0.1, "follow": 0.9}
    keys = "export.score_weights={click: 0.1, follow: 0.9}", "export.explain=true"
    assert [Run.open(load(log, *keys), copy).export().name for _ in range(2)] == ["2", "2"]
    version = copy / "export" / "2"
    assert export.metadata(version).score_weights == weights
    assert {"explain"} < export.metadata(version).signatures.keys()
    explaining = export.Serving(version)
    explaining.warm_up()
    assert "explain" in {signature for signature, _ in warmup.read(version)}
    # Of each row: shares that add up to what the logit differs from that of the mean row.
    found, predicted = explaining(day, "explain"), explaining(day)
    np.testing.assert_allclose(1 / (1 + np.exp(-found["click"])), predicted["click"], rtol=1e-5)
    np.testing.assert_allclose(np.expm1(found["watch_time"]), predicted["watch_time"], rtol=1e-4)
    for task in TASKS:
        shares = {name: values for name, values in found.items() if name.startswith(f"{task}/")}
        assert shares.keys() == {f"{task}/{name}" for name in load(log).features}
        of_mean = found[task] - sum(shares.values())
        assert np.abs(of_mean - np.median(of_mean)).mean() < 1e-3 * np.abs(found[task] - np.median(of_mean)).mean()


def test_rank_needs_the_weights_of_its_score(log, run, tmp_path):
    model = restored(log, run).state.learner.model
    with pytest.raises(ValueError, match="score_weights must name a task"):
        export.save(tmp_path, model, export.ModelCard("2025-01-03"), user_columns=USER)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_without_user_columns_there_is_no_rank(log, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run", symlinks=True)
    shutil.rmtree(copy / "export")
    version = restored(log, copy, "export.user_columns=[]").publish()
    assert sorted(export.Serving(version).signatures) == ["serve_examples", "serving_default"]


@pytest.mark.slow
def test_signatures_stay_between_versions_and_precisions(log, run, tmp_path):
    start(log, tmp_path / "run", "trainer.precision=mixed_bfloat16", "trainer.steps=1", "model.units=[8]")
    other = export.metadata(tmp_path / "run" / "export" / "1")
    assert other.signatures == export.metadata(run / "export" / "1").signatures  # float32 among them.
    assert other.config_hash != export.metadata(run / "export" / "1").config_hash
