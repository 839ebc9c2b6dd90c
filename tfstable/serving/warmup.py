"""Requests that TensorFlow Serving sends a version before it serves it, so that no user waits for the first call."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

PATH = Path("assets.extra") / "tf_serving_warmup_requests"


def write(version: Path, requests: list[tuple[str, Mapping[str, np.ndarray]]]):
    """Writes a TFRecord of `tensorflow.serving.PredictionLog` protos.

    Args:
        version: Folder of the version.
        requests: Pairs of a signature's name and its inputs by name; TensorFlow Serving takes at most 1000.
    """
    (version / PATH).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(version / PATH)) as file:
        for signature, inputs in requests:
            file.write(prediction_log(signature, inputs))


def prediction_log(signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """Returns a serialized PredictionLog whose predict_log holds one request.

    Laid out here by its field numbers (tensorflow_serving/apis: prediction_log.proto, predict.proto, model.proto), for
    the package with the classes wants `tensorflow` itself, which the TPU image has under another name. A test reads the
    result with those classes.
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
