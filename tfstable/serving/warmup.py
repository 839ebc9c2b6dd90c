"""Warm-up requests: TensorFlow Serving sends them to a version before serving it, so no user waits for tracing."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

PATH = Path("assets.extra") / "tf_serving_warmup_requests"


def write(version: Path, requests: Sequence[tuple[str, Mapping[str, np.ndarray]]]) -> None:
    """Writes a TFRecord of `tensorflow.serving.PredictionLog` protos.

    Args:
        version: Folder of the version.
        requests: Pairs of a signature's name and its inputs by name; TensorFlow Serving takes at most 1000.
    """
    (version / PATH).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(version / PATH)) as file:
        for signature, inputs in requests:
            file.write(prediction_log(signature, inputs))


def read(version: Path) -> list[tuple[str, dict[str, tf.Tensor]]]:
    """Returns the requests that `write` wrote; an empty list without a file.

    Raises:
        tf.errors.OpError: If the file is damaged.
    """
    requests, path = [], version / PATH
    for record in tf.data.TFRecordDataset(str(path)) if path.exists() else ():
        log = dict(_fields(record.numpy()))  # PredictionLog
        signature, inputs = "", {}
        for number, content in _fields(dict(_fields(log[6]))[1]):  # PredictLog.request
            if number == 1:
                signature = dict(_fields(content))[3].decode()
            else:
                entry = dict(_fields(content))
                inputs[entry[1].decode()] = tf.io.parse_tensor(entry[2], _dtype(entry[2]))
        requests.append((signature, inputs))
    return requests


def prediction_log(signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """Returns a serialized PredictionLog whose predict_log holds one request.

    Encoded here by field numbers (tensorflow_serving/apis: prediction_log.proto, predict.proto, model.proto), because
    the package with the classes requires `tensorflow`, which the TPU image installs under another name. A test parses
    the result with those classes.
    """
    spec = _field(3, signature.encode())  # ModelSpec.signature_name
    request = _field(1, spec)  # PredictRequest.model_spec
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))  # PredictRequest.inputs, a map
    return _field(6, _field(1, request))  # PredictionLog.predict_log, PredictLog.request


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of the protocol buffers' wire format; `number` is below 16."""
    size, length = b"", len(content)
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Inverse of `_field`: number and content of each length-delimited field of a message."""
    at = 0
    while at < len(message):
        number, at, length, shift = message[at] >> 3, at + 1, 0, 0
        while True:
            length |= (message[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if message[at - 1] < 128:
                break
        yield number, message[at : at + length]
        at += length


def _dtype(tensor: bytes) -> tf.DType:
    return tf.dtypes.as_dtype(tensor[1])  # TensorProto.dtype comes first, as the varint of field 1.
