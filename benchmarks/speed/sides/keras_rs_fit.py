"""keras-rs: `DistributedEmbedding` on a CPU, under Keras 3's `fit`."""

import keras_rs

from benchmarks.speed.sides import keras_fit
from benchmarks.speed.workload import Workload


class RankingModel(keras_fit.RankingModel):
    def make_embedding(self, workload: Workload):
        return keras_rs.layers.DistributedEmbedding(
            {
                name: keras_rs.layers.FeatureConfig(
                    name,
                    keras_rs.layers.TableConfig(name, workload.rows, workload.dim, optimizer="adagrad"),
                    (workload.batch,),
                    (workload.batch, workload.dim),
                )
                for name in workload.feature_names
            }
        )


def make(workload: Workload, per_call: int, jit_compile="auto"):
    return keras_fit.make(workload, per_call, jit_compile, RankingModel)
