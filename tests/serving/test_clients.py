"""The export through other clients than Python: the C API, saved_model_cli, TensorFlow Serving's request protos.

The requests are hostile as well: wrong shapes, types, sizes and numbers end in an error or a finite score, and never
end the server's process.
"""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2

from tests.serving.runs import LAST, USER, load
from tfstable.data.arrays import raw_batches
from tfstable.data.log import DayLog
from tfstable.serving import export
from tfstable.serving.examples import serialize
from trainers import Run

ROOT = Path(__file__).parents[2]
QUIET = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
NAMES = {"float32": "float", "float64": "double"}


@pytest.fixture(scope="module")
def version(run) -> Path:
    return run / "export" / "1"


@pytest.fixture(scope="module")
def serving(version) -> export.Serving:
    return export.Serving(version)


@pytest.fixture(scope="module")
def rows(log, serving) -> dict[str, np.ndarray]:
    (batch,) = raw_batches(DayLog(log).units(LAST), serving.columns)
    return {name: values[:5] for name, values in batch.items()}


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """examples/serve.c, compiled against the headers and libraries inside the TensorFlow wheel."""
    wheel, out = Path(tf.__file__).parent, tmp_path_factory.mktemp("c") / "serve"
    libraries = ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    where = [f"-I{wheel}/include", f"-L{wheel}", f"-Wl,-rpath,{wheel}"]
    command = ["gcc", "-O1", ROOT / "examples/serve.c", "-o", out, *where, *libraries]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def signatures(version):
    return signatures_of(version)


def signatures_of(version: Path):
    meta = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs[0]
    return meta.signature_def


def request(signature, inputs: dict[str, np.ndarray]) -> bytes:
    """A request as examples/serve.c reads it."""
    lines = []
    for name, value in inputs.items():
        value = np.asarray(value)
        kind = "string" if value.dtype.kind in "OSU" else NAMES.get(value.dtype.name, value.dtype.name)
        shape = " ".join(map(str, value.shape))
        lines.append(f"feed {signature.inputs[name].name} {kind} {value.ndim} {shape}\n".encode())
        if kind == "string":
            texts = [text if isinstance(text, bytes) else text.encode() for text in value.ravel()]
            lines.append(b"".join(b"%d:%s " % (len(text), text) for text in texts) + b"\n")
        else:
            lines.append((" ".join(map(repr, value.ravel().tolist())) + "\n").encode())
    lines += [f"fetch {name} {info.name}\n".encode() for name, info in signature.outputs.items()]
    return b"".join(lines) + b"run\n"


def ask(program: Path, version: Path, requests: list[tuple]) -> list[dict[str, list[float]] | str]:
    """The answers to requests of (signature, inputs): outputs by name, or the error's line."""
    text = b"".join(request(*one) for one in requests)
    done = subprocess.run([program, version], input=text, capture_output=True, env=QUIET, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    answers, lines = [], done.stdout.decode(errors="replace").splitlines()
    for signature, _ in requests:
        count = 1 if lines[0].startswith("error") else len(signature.outputs)
        part, lines = lines[:count], lines[count:]
        error = part[0].startswith("error")
        answers.append(part[0] if error else {p.split()[0]: [float(v) for v in p.split()[1:]] for p in part})
    assert not lines
    return answers


@pytest.mark.slow
def test_a_c_program_explains_as_python_does(program, log, run, rows, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run", symlinks=True)
    version = Run.open(load(log, "export.explain=true"), copy).export()
    (answer,) = ask(program, version, [(signatures_of(version)["explain"], rows)])
    expected = export.Serving(version)(rows, "explain")
    assert set(answer) == set(expected)
    assert {"click", "click/user_id", "watch_time/tags"} < set(answer)
    for name, values in expected.items():
        np.testing.assert_allclose(answer[name], values, rtol=1e-4, atol=1e-6)


def of_one_user(rows):
    return {name: values[:1] if name in USER else values for name, values in rows.items()}


def test_a_c_program_scores_as_python_does(program, version, serving, signatures, rows):
    examples = np.array(serialize(rows), object)
    by_column, by_example, ranked = ask(
        program,
        version,
        [
            (signatures["serving_default"], rows),
            (signatures["serve_examples"], {"examples": examples}),
            (signatures["rank"], of_one_user(rows)),
        ],
    )
    expected = serving(rows)
    assert set(by_column) == set(expected) == {"click", "follow", "watch_time"}
    for task, values in expected.items():
        np.testing.assert_allclose(by_column[task], values, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(by_example[task], values, rtol=1e-6, atol=1e-6)
    for name, values in serving(of_one_user(rows), "rank").items():
        np.testing.assert_allclose(ranked[name], values, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_saved_model_cli_shows_and_runs(version, serving, rows, tmp_path):
    tool = Path(sys.executable).with_name("saved_model_cli")
    common = ["--dir", version, "--tag_set", "serve", "--signature_def", "serving_default"]
    run = {"capture_output": True, "text": True, "check": True, "env": QUIET}
    shown = subprocess.run([tool, "show", *common], **run).stdout
    for name in rows:
        assert f"inputs['{name}'] tensor_info" in shown
    assert "outputs['watch_time'] tensor_info" in shown
    arrays = {name: v.astype("S") if v.dtype == object else v for name, v in rows.items()}
    np.savez(tmp_path / "rows.npz", **arrays)
    inputs = ";".join(f"{name}={tmp_path / 'rows.npz'}[{name}]" for name in arrays)
    subprocess.run([tool, "run", *common, "--inputs", inputs, "--outdir", tmp_path], **run)
    for task, values in serving(rows).items():
        np.testing.assert_allclose(np.load(tmp_path / f"{task}.npy"), values, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("signature", ["serving_default", "serve_examples", "rank"])
def test_a_predict_request_of_tensorflow_serving_fits_each_signature(signature, version, serving, rows):
    inputs = {
        "serving_default": rows,
        "serve_examples": {"examples": np.array(serialize(rows), object)},
        "rank": of_one_user(rows),
    }[signature]
    sent = predict_pb2.PredictRequest()
    sent.model_spec.name, sent.model_spec.signature_name = "feed", signature
    for name, value in inputs.items():
        sent.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    got = predict_pb2.PredictRequest.FromString(sent.SerializeToString())
    assert text_format.MessageToString(got) == text_format.MessageToString(sent)
    function = tf.saved_model.load(str(version)).signatures[got.model_spec.signature_name]
    expected = function.structured_input_signature[1]
    assert set(got.inputs) == set(expected)
    for name, tensor in got.inputs.items():  # As the server checks a request.
        assert tf.dtypes.as_dtype(tensor.dtype) == expected[name].dtype
        assert expected[name].shape.is_compatible_with([d.size for d in tensor.tensor_shape.dim])
    outputs = function(**{name: tf.make_ndarray(tensor) for name, tensor in got.inputs.items()})
    answer = predict_pb2.PredictResponse()
    for name, value in outputs.items():
        answer.outputs[name].CopyFrom(tf.make_tensor_proto(value))
    direct = serving(rows) if signature != "rank" else serving(of_one_user(rows), "rank")
    for name, value in direct.items():
        np.testing.assert_allclose(tf.make_ndarray(answer.outputs[name]), value, rtol=1e-6, atol=1e-6)


def hostile(rows: dict[str, np.ndarray], ranked: bool) -> dict[str, dict[str, np.ndarray]]:
    """Requests that no client should send, by what is wrong with them."""
    n, inf = len(rows["video_id"]), np.float32("inf")
    long = "x" * 10_000_000
    wrong = {
        "no rows": {name: v[:0] for name, v in rows.items()},
        "no candidates": {name: v if name in USER else v[:0] for name, v in rows.items()},
        "more rows in one column": {**rows, "category": np.array(["a"] * (n + 3), object)},
        "fewer rows in one column": {**rows, "duration_s": rows["duration_s"][:-2]},
        "two of all of the user": {n: v.repeat(2, axis=0) if n in USER else v[:2] for n, v in rows.items()},
        "no user": {**rows, "user_id": rows["user_id"][:0]},
        "two users": {**rows, "user_id": np.int64([1, 2]), "user_country": np.array(["BR", "DE"], object)},
        "a matrix for a column": {**rows, "video_id": rows["video_id"][:, None]},
        "a wider matrix for a column": {**rows, "duration_s": np.ones((n, 7), np.float32)},
        "a scalar for a column": {**rows, "video_id": np.int64(3)},
        "a vector for lists": {**rows, "tags": np.array(["a"] * n, object)},
        "a cube for lists": {**rows, "tags": np.full((n, 2, 2), "a", object)},
        "lists of nothing": {**rows, "tags": np.empty((n, 0), object)},
        "very long lists": {**rows, "tags": np.full((n, 20_000), "a", object)},
        "text for ids": {**rows, "video_id": np.array(["7"] * n, object)},
        "numbers for ids": {**rows, "video_id": np.ones(n, np.float32)},
        "narrow ids": {**rows, "video_id": np.ones(n, np.int32)},
        "ids for numbers": {**rows, "duration_s": np.ones(n, np.int64)},
        "wide numbers": {**rows, "duration_s": np.ones(n, np.float64)},
        "ids for text": {**rows, "category": np.ones(n, np.int64)},
        "10 MB of text": {**rows, "category": np.array([long] * n, object)},
        "10 MB in lists": {**rows, "tags": np.array([[long, ""]] * n, object)},
        "zero bytes and no UTF-8": {**rows, "category": np.array([b"\x00\xff\xfe\x00"] * n, object)},
        "NaN": {name: np.full_like(v, np.nan) if v.dtype == np.float32 else v for name, v in rows.items()},
        "infinite": {name: np.full_like(v, inf) if v.dtype == np.float32 else v for name, v in rows.items()},
        "minus infinite": {name: np.full_like(v, -inf) if v.dtype == np.float32 else v for name, v in rows.items()},
        "huge": {name: np.full_like(v, 3e38) if v.dtype == np.float32 else v for name, v in rows.items()},
        "largest ids": {n: np.full_like(v, 2**63 - 1) if v.dtype == np.int64 else v for n, v in rows.items()},
        "smallest ids": {n: np.full_like(v, -(2**63)) if v.dtype == np.int64 else v for n, v in rows.items()},
        "one column absent": {name: v for name, v in rows.items() if name != "video_id"},
    }
    others = ["no rows"] if ranked else ["no candidates", "no user", "two users", "two of all of the user"]
    return {what: inputs for what, inputs in wrong.items() if what not in others}


FINE = {  # What is answered, in both signatures; everything else must be refused.
    "no rows",
    "no candidates",
    "lists of nothing",
    "very long lists",
    "10 MB of text",
    "10 MB in lists",
    "zero bytes and no UTF-8",
    "NaN",
    "infinite",
    "minus infinite",
    "huge",
    "largest ids",
    "smallest ids",
}


@pytest.mark.parametrize("signature", ["serving_default", "rank"])
def test_a_hostile_request_ends_in_an_error_or_a_finite_score(signature, program, version, signatures, rows):
    good = of_one_user(rows) if signature == "rank" else rows
    wrong = hostile(good, signature == "rank")
    requests = [(signatures[signature], inputs) for inputs in (good, *wrong.values(), good)]
    first, *answers, last = ask(program, version, requests)
    assert first == last  # The server is as it was.
    answered = set()
    for what, answer in zip(wrong, answers, strict=True):
        if not isinstance(answer, str):
            assert all(math.isfinite(v) for values in answer.values() for v in values), what
            answered.add(what)
    assert answered == FINE & wrong.keys()


def test_hostile_examples(program, version, signatures, rows):
    good = serialize(rows)
    examples = {
        "none": [],
        "no example": [b"\xff" * 100],
        "10 MB of no example": [b"\xff" * 10_000_000],
        "empty": [b""],
        "one of another type": [good[0], serialize({"video_id": np.array(["x"], object)})[0]],
        "two values for one": [serialize({"duration_s": np.float32([[1, 2]])})[0]],
        "10 MB of text": serialize({"category": np.array(["y" * 10_000_000], object)}),
        "infinite": serialize({"duration_s": np.float32([np.inf])}),
        "unknown column": serialize({"never_heard": np.float32([1])}),
    }
    requests = [(signatures["serve_examples"], {"examples": np.array(v, object)}) for v in examples.values()]
    answers = dict(zip(examples, ask(program, version, requests), strict=True))
    refused = {what for what, answer in answers.items() if isinstance(answer, str)}
    assert refused == {"no example", "10 MB of no example", "one of another type", "two values for one"}
    for what in answers.keys() - refused:
        assert all(math.isfinite(v) for values in answers[what].values() for v in values), what
    assert answers["empty"] == answers["unknown column"]
