"""A run whose embedding tables lie on the SparseCores of a TPU."""

import keras
import tensorflow as tf

from tfstable.errors import InputError
from tfstable.layers.sparsecore import SparseCoreEmbeddings
from tfstable.models import RankingModel
from tfstable.specs import Categorical, living
from trainers.config import Config


def has_sparse_cores(strategy: tf.distribute.Strategy) -> bool:
    """Whether the strategy's TPU has SparseCores for embedding tables (v5p, v6e)."""
    feature = tf.tpu.experimental.HardwareFeature.EmbeddingFeature
    return (
        isinstance(strategy, tf.distribute.TPUStrategy)
        and strategy.extended.tpu_hardware_feature.embedding_feature == feature.V2
    )


def check_tables(config: Config, tables: dict[str, tuple[int, int]], sparse_cores: bool) -> None:
    """Checks that a TPU can train the embedding tables, before variables exist.

    Args:
        config: The config.
        tables: (rows, dim) of each table.
        sparse_cores: Whether the TPU has SparseCores. Without, the tables are ordinary variables with dense gradients.

    Raises:
        InputError: If SparseCores do not know the tables' optimizer, or the tables are too large without them.
    """
    if sparse_cores:
        if config.model.sequences:
            raise InputError(
                "model.sequences: SparseCores pool all values of an example; drop the key, or train elsewhere"
            )
        if config.model.penalty is not None:
            raise InputError("model.penalty: SparseCores know no penalty; drop the key, or train elsewhere")
        if ids := living(config.features):
            raise InputError(
                f"features.{next(iter(ids))}: SparseCores cannot give rows anew; take kind: hash, or a vocabulary "
                "without grow, or train elsewhere"
            )
        for name, feature in config.features.items():
            if isinstance(feature, Categorical) and (feature.pretrained or feature.rate != 1):
                raise InputError(f"features.{name}: SparseCores know neither pretrained nor rate; drop them")
        rule = config.optimizer.embeddings
        stock = rule.rule == "adagrad" and rule.clipping is None and rule.schedule.decay == "none"
        if config.optimizer.groups is not None or not stock or rule.schedule.warmup_steps:
            raise InputError(
                "optimizer.embeddings: SparseCores support only stock Adagrad; set rule: adagrad, clipping: null and "
                "no schedule, in optimizer.embeddings and not in groups"
            )
        if rule.forget not in (None, 1):
            raise InputError("optimizer.embeddings.forget: accumulators on SparseCores cannot forget; drop the key")
        if rule.accumulator == "row":
            raise InputError("optimizer.embeddings.accumulator: SparseCores keep one number per weight; drop the key")
        return
    size = sum(rows * dim * 4 for rows, dim in tables.values()) / 1e9
    if size > config.trainer.tpu_table_gb:
        raise InputError(
            f"trainer.tpu_table_gb: the tables hold {size:.1f} GB, more than {config.trainer.tpu_table_gb:g}; they "
            "would be updated whole in every step. Take a TPU with SparseCores, smaller tables, or raise the limit"
        )


def place_on_sparse_cores(
    model: RankingModel, config: Config, placement: str = "sparsecore"
) -> dict[str, SparseCoreEmbeddings]:
    """Puts the tables of a model on the SparseCores, under the strategy's scope, before the model is built.

    Args:
        model: The model.
        config: Its config.
        placement: See `SparseCoreEmbeddings`.

    Returns:
        The layers by their attribute of the model.
    """
    rule, size, placed = config.optimizer.embeddings, config.trainer.batch_size, {}
    for name in ("embeddings", "wide"):
        if (host := getattr(model, name)) is not None:
            placed[name] = SparseCoreEmbeddings(
                host, size, rule.learning_rate, rule.tables_accumulator(size), placement, name=name
            )
            setattr(model, name, placed[name])
    return placed


def on_host(placed: dict[str, SparseCoreEmbeddings], model: RankingModel, host: RankingModel) -> RankingModel:
    """Copies a model's weights into `host`, which runs anywhere, and returns `host` for export."""
    for name, layer in placed.items():
        layer.write_to(getattr(host, name))
    sources = {_path_in_model(variable): variable for variable in model.variables}
    tables = {id(variable) for name in placed for variable in getattr(host, name).variables}
    for variable in host.variables:
        if id(variable) not in tables:
            variable.assign(sources[_path_in_model(variable)])
    return host


def _path_in_model(variable: keras.Variable) -> str:
    return variable.path.partition("/")[2]  # Without the model's own name, which Keras makes unique.
