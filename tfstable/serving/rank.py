"""`rank`: orders many candidates for one user."""

from collections.abc import Collection, Mapping

import tensorflow as tf

from tfstable.inputs.preprocessor import Preprocessor
from tfstable.log_columns import feature_columns
from tfstable.models import RankingModel
from tfstable.serving.packing import PackedPreprocessor
from tfstable.serving.shared_user import SharedUser, fits


class Rank:
    """Scores N candidates for one user, best first.

    The user's columns are preprocessed and looked up once. If the model can be split (see `shared_user`), their part of
    the first layer is computed once, too; else their rows are repeated after the preprocessing.

    Args:
        model: The trained model.
        preprocess: Turns raw columns into the model's inputs, each column separately.
        user_columns: Raw columns of the user and the context; the other columns belong to the candidates.
        score_weights: Weight of each task's prediction in `score`, by task.

    Shapes:
        In: raw columns by name, one row of the user's and N rows of the candidates'. Out, best candidate first:
        predictions by task, `(N,)`; `score`, `(N,)`, their weighted sum; `order`, `(N,)` int32, each candidate's
        position in the request. Candidates with equal scores keep the request's order.
    """

    def __init__(
        self,
        model: RankingModel,
        preprocess: Preprocessor | PackedPreprocessor,
        user_columns: Collection[str],
        score_weights: Mapping[str, float],
    ):
        self._model, self._preprocess, self._weights = model, preprocess, dict(score_weights)
        self._user_columns = set(user_columns)
        columns_of = feature_columns(model.feature_specs)
        self._user = {name for name, columns in columns_of.items() if self._user_columns.issuperset(columns)}
        self._shared = SharedUser(model, self._user) if fits(model, self._user) else None

    def signature(self) -> dict[str, tf.TensorSpec]:
        """Returns the raw columns: the user's with one row, the candidates' with an open number of rows."""
        return {
            name: tf.TensorSpec([1, *spec.shape[1:]], spec.dtype, name=name) if name in self._user_columns else spec
            for name, spec in self._preprocess.signature().items()
        }

    def __call__(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        features = self._preprocess(raw)
        predictions = (
            self._repeated(features) if self._shared is None else self._model.predictions(self._shared(features))
        )
        score = tf.add_n([weight * predictions[task] for task, weight in self._weights.items()])
        score, order = tf.math.top_k(score, tf.size(score))
        return {
            **{name: tf.gather(value, order) for name, value in predictions.items()},
            "score": score,
            "order": order,
        }

    def _repeated(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        rows = next(tf.shape(value)[0] for name, value in features.items() if name not in self._user)
        every = {n: tf.repeat(v, rows, axis=0) if n in self._user else v for n, v in features.items()}
        return self._model(every, training=False)
