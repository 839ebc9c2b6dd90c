"""Calls SavedModels through TensorFlow's C API, as servers in C++, Java or Go do: no Python in a call.

The library is the one inside the TensorFlow wheel. `Client.run` is `TF_SessionRun` alone: feeding 30 arrays from Python
would cost 0.6 ms a call.
"""

import ctypes
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

_c = ctypes.CDLL(str(Path(tf.__file__).parent / "libtensorflow_cc.so.2"))
for _name in (
    "TF_NewStatus",
    "TF_NewSessionOptions",
    "TF_NewGraph",
    "TF_LoadSessionFromSavedModel",
    "TF_GraphOperationByName",
    "TF_AllocateTensor",
    "TF_TensorData",
):
    getattr(_c, _name).restype = ctypes.c_void_p
_c.TF_TensorByteSize.restype = ctypes.c_size_t
_c.TF_Message.restype = ctypes.c_char_p


class _Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("free", ctypes.c_void_p)]


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class Client:
    """One signature of a SavedModel in a session of its own.

    Args:
        path: Directory of the SavedModel.
        signature: Name of the signature.
        threads: Threads inside an operation, and operations at a time.
    """

    def __init__(self, path: Path, signature: str, threads: int):
        self._status = ctypes.c_void_p(_c.TF_NewStatus())
        options, self._graph = ctypes.c_void_p(_c.TF_NewSessionOptions()), ctypes.c_void_p(_c.TF_NewGraph())
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads, use_per_session_threads=True
        ).SerializeToString()
        _c.TF_SetConfig(options, config, ctypes.c_size_t(len(config)), self._status)
        meta, tags = _Buffer(), (ctypes.c_char_p * 1)(b"serve")
        self._session = ctypes.c_void_p(
            _c.TF_LoadSessionFromSavedModel(
                options, None, str(path).encode(), tags, 1, self._graph, ctypes.byref(meta), self._status
            )
        )
        self._check()
        self.signature = meta_graph_pb2.MetaGraphDef.FromString(ctypes.string_at(meta.data, meta.length)).signature_def[
            signature
        ]

    def feed(self, inputs: dict[str, np.ndarray]):
        """Sets the inputs of the next runs, by name."""
        self._feeds = (_Output * len(inputs))(*(self._output(self.signature.inputs[name].name) for name in inputs))
        self._tensors = (ctypes.c_void_p * len(inputs))(
            *(self._tensor(value, self.signature.inputs[name].dtype) for name, value in inputs.items())
        )
        infos = self.signature.outputs.values()
        self._fetches = (_Output * len(infos))(*(self._output(info.name) for info in infos))
        self._results = (ctypes.c_void_p * len(infos))()

    def run(self):
        """Runs the signature once."""
        _c.TF_SessionRun(
            self._session, None, self._feeds, self._tensors, len(self._feeds), self._fetches, self._results,
            len(self._fetches), None, 0, None, self._status,
        )  # fmt: skip

    def results(self) -> dict[str, np.ndarray]:
        """Returns what the last run put out, and frees it."""
        self._check()
        found = {}
        for name, info, tensor in zip(
            self.signature.outputs, self.signature.outputs.values(), self._results, strict=True
        ):
            pointer = ctypes.c_void_p(tensor)
            size, data = _c.TF_TensorByteSize(pointer), _c.TF_TensorData(pointer)
            found[name] = np.frombuffer(ctypes.string_at(data, size), tf.dtypes.as_dtype(info.dtype).as_numpy_dtype)
        self.free()
        return found

    def free(self):
        """Frees what the last run put out."""
        for tensor in self._results:
            _c.TF_DeleteTensor(ctypes.c_void_p(tensor))

    def _output(self, name: str) -> _Output:
        operation, _, index = name.partition(":")
        return _Output(_c.TF_GraphOperationByName(self._graph, operation.encode()), int(index))

    def _tensor(self, value: np.ndarray, dtype: int) -> int:
        dims = (ctypes.c_int64 * value.ndim)(*value.shape)
        size = 24 * value.size if dtype == tf.string.as_datatype_enum else value.nbytes  # sizeof(TF_TString) is 24.
        tensor = _c.TF_AllocateTensor(dtype, dims, value.ndim, ctypes.c_size_t(size))
        data = _c.TF_TensorData(ctypes.c_void_p(tensor))
        if dtype != tf.string.as_datatype_enum:
            ctypes.memmove(data, np.ascontiguousarray(value).ctypes.data, size)
            return tensor
        ctypes.memset(data, 0, size)
        for i, text in enumerate(value.ravel()):
            encoded = str(text).encode()
            _c.TF_StringCopy(ctypes.c_void_p(data + 24 * i), encoded, ctypes.c_size_t(len(encoded)))
        return tensor

    def _check(self):
        if _c.TF_GetCode(self._status):
            raise RuntimeError(_c.TF_Message(self._status).decode())
