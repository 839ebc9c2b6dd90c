"""One line for each way to get a config wrong."""

import pytest
import yaml

from tests.trainers.config.conftest import GOOD, complaint
from trainers.config import loading

WRONG = {  # --set arguments, and what the line must say.
    "unknown section": (["trainr.batch_size=3"], "trainr: unknown key; did you mean trainer?"),
    "unknown key": (["trainer.batchsize=3"], "trainer.batchsize: unknown key; did you mean batch_size?"),
    "unknown key of a feature": (["features.age.stddev=3"], "features.age.stddev: unknown key; see `tfstable schema`"),
    "key of another kind": (["features.age.buckets=3"], "features.age.buckets: unknown key"),
    "misspelt key of a task": (
        ["tasks.time.transfrom=none"],
        "tasks.time.transfrom: unknown key; did you mean transform?",
    ),
    "near a key of another section alone": (
        ["trainer.horizn=3"],
        "trainer.horizn: unknown key; see `tfstable schema`",
    ),
    "unknown key of an average over steps": (
        ["optimizer.averaging={kind: ema, horizon: 150}"],
        "optimizer.averaging.horizon: unknown key; did you mean horizon_steps?",
    ),
    "unknown key of an average over windows": (
        ["optimizer.averaging={kind: swa, horizon: 150}"],
        "optimizer.averaging.horizon: unknown key; did you mean horizon_windows?",
    ),
    "key of another clipping": (
        ["optimizer.dense.clipping={kind: clippy, threshold: 1}"],
        "optimizer.dense.clipping.threshold: unknown key; see `tfstable schema`",
    ),
    "misspelt key of a clipping of a group": (
        ["optimizer.groups={dense: {clipping: {kind: clippy, absolut: 1}}}"],
        "optimizer.groups.dense.clipping.absolut: unknown key; did you mean absolute?",
    ),
    "misspelt key of a section that may be null": (
        ["data.simulate={day: 3}"],
        "data.simulate.day: unknown key; did you mean days?",
    ),
    "text for a number": (["trainer.batch_size=many"], "trainer.batch_size: Input should be a valid integer"),
    "fraction for an integer": (["trainer.window_days=1.5"], "trainer.window_days: Input should be a valid integer"),
    "number for text": (["data.weight=3"], "data.weight: Input should be a valid string, got 3"),
    "zero": (["trainer.batch_size=0"], "trainer.batch_size: Input should be greater than or equal to 1, got 0"),
    "negative": (["trainer.passes=-1"], "trainer.passes: Input should be greater than 0, got -1"),
    "not finite": (["optimizer.dense.learning_rate=.nan"], "optimizer.dense.learning_rate: Input should be"),
    "infinite": (["tasks.click.weight=.inf"], "tasks.click.weight: Input should be a finite number, got inf"),
    "no choice": (["model.activation=rellu"], "model.activation: Input should be 'relu', 'smelu'"),
    "no such strategy": (["trainer.strategy=tpus"], "trainer.strategy: Input should be"),
    "a limit that XLA cannot sum over replicas": (
        ["model.task_gradient_limit=1", "trainer.xla=true", "trainer.strategy=mirrored"],
        "model.task_gradient_limit sums over replicas inside the backward pass, which trainer.xla compiles alone",
    ),
    "a penalty that XLA cannot sum over replicas": (
        ["model.penalty={kind: weight_gradient, rate: 0.1}", "trainer.xla=true", "trainer.strategy=auto"],
        "model.penalty: weight_gradient sums gradients over replicas between two backward passes, which trainer.xla",
    ),
    "a penalty of no kind": (
        ["model.penalty={kind: noisy, stddev: 1}"],
        "model.penalty.kind: must be one of 'noise', 'gradient', 'fgm', 'vat', 'flooding', 'weight_gradient', got",
    ),
    "a penalty's key of another kind": (
        ["model.penalty={kind: fgm, epsilon: 1, stddev: 1}"],
        "model.penalty.stddev: unknown key",
    ),
    "a penalty without its strength": (["model.penalty={kind: vat}"], "model.penalty.epsilon: missing"),
    "a penalty below its domain": (
        ["model.penalty={kind: flooding, level: -1}"],
        "model.penalty.level: Input should be greater than 0, got -1",
    ),
    "a penalty on limited gradients": (
        ["model.penalty={kind: gradient, weight: 1}", "model.task_gradient_limit=1"],
        "model: penalty gradient differentiates the gradients that task_gradient_limit scales; drop one of the two",
    ),
    "no limit by 0": (
        ["model.task_gradient_limit=0"],
        "model.task_gradient_limit: Input should be greater than 0, got 0",
    ),
    "dropout of everything": (["model.dropout=1"], "model.dropout: Input should be less than 1, got 1"),
    "kind missing": (["features.x={buckets: 3}"], "features.x.kind: missing; `tfstable schema` lists the kinds"),
    "kind unknown": (
        ["features.x={kind: embed}"],
        "features.x.kind: must be one of 'hash', 'vocabulary', 'id', 'quantile', 'numeric', 'vector', 'counter', "
        "got 'embed'",
    ),
    "an outcome among crossed columns": (
        ["features.x={kind: hash, columns: [age, click], buckets: 9}"],
        "features.x reads click, the outcome of tasks.click; drop the feature",
    ),
    "calibration that is no section": (
        ["tasks.click.calibrate=maybe"],
        "tasks.click.calibrate: must be a mapping of keys, got 'maybe'",
    ),
    "calibration by another key": (
        ["tasks.click.calibrate={half_life: 3}"],
        "tasks.click.calibrate.half_life: unknown key; did you mean half_life_days?",
    ),
    "task kind unknown": (["tasks.x={kind: ctr}"], "tasks.x.kind: must be one of 'binary', 'regression', got 'ctr'"),
    "clipping kind missing": (["optimizer.dense.clipping={relative: 1}"], "optimizer.dense.clipping.kind: missing"),
    "inside a clipping": (
        ["optimizer.dense.clipping={kind: clippy, relative: -1}"],
        "optimizer.dense.clipping.relative: Input should be greater than or equal to 0, got -1",
    ),
    "nothing that is kept": (
        ["optimizer.dense.forget=0"],
        "optimizer.dense.forget: the share that is kept, 1 for all, must be above 0, got 0",
    ),
    "more than all that is kept": (
        ["optimizer.dense.forget=1.5"],
        "optimizer.dense.forget: Input should be less than or equal to 1, got 1.5",
    ),
    "accumulators of a rule without": (
        ["optimizer.embeddings={rule: adam, forget: 0.9}"],
        "optimizer.embeddings: rule adam has no key forget; its keys are beta_1, beta_2",
    ),
    "key missing": (["features.x={kind: hash}"], "features.x.buckets: missing; it has no default"),
    "feature that is no mapping": (["features.x=hash"], "features.x: must be a mapping of keys, got 'hash'"),
    "section that is empty": (["trainer=null"], "trainer: must be a mapping of keys, got None"),
    "no features": (["features={}"], "features: Dictionary should have at least 1 item"),
    "no tasks": (["tasks={}"], "tasks: Dictionary should have at least 1 item"),
    "clip upside down": (["features.age.clip=[3, 1]"], "features.age: clip must be [lowest, highest]"),
    "moments of no width": (["features.age.moments=[1, 0]"], "features.age.moments.1: Input should be greater than 0"),
    "moments that nothing uses": (
        ["features.age.moments=[1, 2]", "features.age.standardise=false"],
        "features.age: only standardise uses moments",
    ),
    "missing that is missing": (["features.age.missing=.nan"], "features.age.missing: Input should be a finite number"),
    "boundaries upside down": (
        ["features.x={kind: quantile, column: age, boundaries: [2, 2]}"],
        "features.x: boundaries must increase, got [2.0, 2.0]",
    ),
    "more boundaries than buckets": (
        ["features.x={kind: quantile, column: age, buckets: 2, boundaries: [1, 2]}"],
        "features.x: 2 boundaries make 3 buckets; set buckets: 3",
    ),
    "inside a list": (["model.units=[8, 0]"], "model.units.1: Input should be greater than or equal to 1, got 0"),
    "inside a clip": (["features.age.clip=[0, high]"], "features.age.clip.1: Input should be a valid number"),
    "key that is no text": (
        ["features={1: {kind: numeric}}"],
        "features: YAML does not read the key 1 as text",
    ),
    "key that YAML reads as no": (
        ["features={no: {kind: numeric}}"],
        "YAML does not read the key False as text",
    ),
    "label among the features": (
        ["features.seconds={kind: numeric}"],
        "features.seconds reads seconds, the outcome of tasks.time; drop the feature",
    ),
    "truth among the features": (
        ["tasks.click.truth=p", "features.p={kind: numeric}"],
        "features.p reads p, the outcome of tasks.click.truth",
    ),
    "shared table of two sizes": (
        ["features.a={kind: hash, buckets: 2, table: t}", "features.b={kind: hash, buckets: 3, table: t}"],
        "features.b shares table t with a feature whose kind, dim, buckets",
    ),
    "shared vocabulary of two sizes": (
        ["features.a={kind: vocabulary, table: t}", "features.b={kind: vocabulary, table: t, max_size: 3}"],
        "features.b shares table t",
    ),
    "table of a quantile": (
        ["features.a={kind: hash, buckets: 2, table: age_q}"],
        "features.a shares table age_q with a feature whose kind",
    ),
    "name that no signature takes": (
        ["features.x={kind: numeric, column: User ID}"],
        "features.x reads column 'User ID', which cannot name an input of an export",
    ),
    "name with an underscore first": (["features._id={kind: hash, buckets: 2}"], "features._id reads column '_id'"),
    "name with a slash at the end": (["features.x={kind: numeric, column: a/}"], "features.x reads column 'a/'"),
    "name that is a word of Python": (
        ["features.class={kind: numeric}"],
        "features.class reads column class, a Python keyword, which cannot name an input of an export",
    ),
    "name of the first argument": (
        ["features.x={kind: numeric, column: self}"],
        "features.x reads column self, a Python keyword",
    ),
    "names that differ in signs": (
        ["features.a-b={kind: numeric}", "features.a_b={kind: numeric}"],
        "features: columns a-b and a_b are equal except for special characters and would become one input",
    ),
    "names that differ in capitals": (
        ["features.x={kind: hash, buckets: 2, column: Age}"],
        "features: columns Age and age are equal except for capitals",
    ),
    "name that is made for another": (
        ["features.1={kind: numeric, column: '1'}", "features.arg_1={kind: numeric}"],
        "features: columns 1 and arg_1 are equal except for special characters",
    ),
    "task with the name of predict's day": (["tasks.date={kind: binary, label: l}"], "tasks.date: `tfstable predict`"),
    "ids as floats": (["features.user_id.type=float"], "features.user_id.type: Input should be 'string' or 'int', got"),
    "numbers as text": (
        ["features.age.type=string"],
        "features.age.type: Input should be 'int' or 'float', got 'string'",
    ),
    "integers to split": (["features.tag.type=int"], "features.tag: type: int has nothing to split"),
    "two types of a column": (
        ["features.age.type=int", "features.age_q.type=float"],
        "features.age_q.type is float, but features.age.type, of the same column age, is int",
    ),
    "task that no layer takes": (["tasks.a/b={kind: binary}"], "tasks.a/b: name the task with letters"),
    "user column of no feature": (
        ["export.user_columns=[city]"],
        "export.user_columns: no feature reads column city",
    ),
    "no candidate's column": (
        ["export.user_columns=[user_id, tag, age]"],
        "export.user_columns: lists every column",
    ),
    "weight of no task": (
        ["export.score_weights={like: 1}"],
        "export.score_weights: no task like; the tasks are click",
    ),
    "task with the name of an output": (
        ["export.user_columns=[user_id]", "tasks.score={kind: binary}"],
        "tasks.score: an output of `rank` has this name",
    ),
    "operand of nothing": (["data.path.x=1"], "--set data.path.x=1: path has no keys below it"),
    "set without a value": (["trainer.seed"], "--set trainer.seed: write --set section.key=value"),
    "set of no YAML": (["model.units=[1"], "--set model.units=[1: the value is not YAML; quote it"),
    "set of a date that is none": (["data.weight=2025-02-30"], "--set data.weight=2025-02-30: the value is not YAML"),
}


@pytest.mark.parametrize(("overrides", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_key_is_named_in_one_line(overrides, expected, path):
    message = complaint(path, *overrides)
    assert "\n" not in message
    assert expected in message
    assert message.startswith(("--set", f"{path}: "))


def test_several_wrong_keys_have_a_line_each(path):
    lines = complaint(path, "trainer.batch_size=0", "trainr.x=1", "features.user_id.dim=none").splitlines()
    assert len(lines) == 3
    for key in ("trainer.batch_size", "trainr", "features.user_id.dim"):
        assert len([line for line in lines if line.startswith(f"{path}: {key}: ")]) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a config is a mapping of keys"),
        ("- a\n- b\n", "a config is a mapping of keys"),
        ("data: {path: [", "not YAML: "),
        ("data:\n\tpath: x\n", "not YAML: "),
        ("data: {path: 2025-02-30}", "not YAML: day is out of range for month"),
        (GOOD + "data: {path: other}\n", "key data is given twice"),
        (GOOD + "trainer: {seed: 1, seed: 2}\n", "key seed is given twice"),
        ("features: {x: {kind: numeric}}\ntasks: {y: {kind: binary}}\n", "data: missing; it has no default"),
    ],
)
def test_files_that_are_no_config(text, expected, path):
    path.write_text(text)
    message = complaint(path)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    assert expected in message


def test_files_that_cannot_be_read(path, tmp_path):
    assert (
        complaint(tmp_path / "nothing.yaml")
        == f"{tmp_path / 'nothing.yaml'}: cannot be read (No such file or directory)"
    )
    assert complaint(tmp_path) == f"{tmp_path}: cannot be read (Is a directory)"
    path.write_bytes(b"data: \xff\xfe")
    assert complaint(path).startswith(f"{path}: cannot be read (")


def test_a_repeated_key_in_the_loader_alone_is_an_error():
    assert yaml.load("{a: 1, b: {a: 2}}", loading._Loader) == {"a": 1, "b": {"a": 2}}
    with pytest.raises(yaml.YAMLError, match="key a is given twice"):
        yaml.load("{b: {a: 1, a: 2}}", loading._Loader)
