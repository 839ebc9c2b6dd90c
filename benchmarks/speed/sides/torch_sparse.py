"""PyTorch: one sparse table for all features (its fastest way on a CPU), Adagrad, an eager loop."""

import itertools
from contextlib import nullcontext

import torch

from benchmarks.speed.workload import LEARNING_RATE, NUMBERS, Workload, batches


class RankingModel(torch.nn.Module):
    def __init__(self, workload: Workload):
        super().__init__()
        self.table = torch.nn.Embedding(workload.rows * workload.features, workload.dim, sparse=True)
        self.register_buffer("offsets", torch.arange(workload.features) * workload.rows)
        self.dense = Dense(workload)

    def forward(self, ids, numbers):
        vectors = self.table(ids + self.offsets).flatten(1)  # (batch, features * dim)
        return self.dense(vectors, numbers)


class Dense(torch.nn.Module):
    """All but the tables."""

    def __init__(self, workload: Workload):
        super().__init__()
        width = workload.features * workload.dim + NUMBERS
        self.cross = torch.nn.Linear(width, width) if workload.cross else None
        layers, before = [], width
        for units in workload.units:
            activation = SmeLU() if workload.activation == "smelu" else torch.nn.ReLU()
            layer = torch.nn.Sequential(torch.nn.Linear(before, units), activation)
            layers.append(ReZero(layer) if workload.rezero and units == before else layer)
            before = units
        self.bottom = torch.nn.Sequential(*layers)
        self.heads = torch.nn.Linear(before, workload.tasks)

    def forward(self, vectors, numbers):
        x = torch.cat([vectors, numbers], dim=1)
        if self.cross is not None:
            x = x * self.cross(x) + x
        return self.heads(self.bottom(x)).float()


class ReZero(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer, self.alpha = layer, torch.nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x + self.alpha * self.layer(x)


class SmeLU(torch.nn.Module):
    def forward(self, x):
        return torch.where(x <= -1, 0.0, torch.where(x >= 1, x, torch.square(x + 1) / 4))


def make(workload: Workload, per_call: int, compiled: bool = False):
    model = RankingModel(workload)
    if compiled:
        model.dense = torch.compile(model.dense)
    optimizer = torch.optim.Adagrad(model.parameters(), LEARNING_RATE, initial_accumulator_value=0.1)
    lower = torch.autocast("cpu", torch.bfloat16) if workload.precision == "mixed_bfloat16" else nullcontext()
    data = batches(workload)
    tensors = [
        (torch.from_numpy(ids).long(), torch.from_numpy(numbers), torch.from_numpy(labels))
        for ids, numbers, labels in zip(*data, strict=True)
    ]
    forever = itertools.cycle(tensors)

    def train(calls):
        for ids, numbers, labels in itertools.islice(forever, calls * per_call):
            with lower:
                logits = model(ids, numbers)
            # The mean over the batch, summed over the tasks, as on the other sides.
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels) * workload.tasks
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return calls * per_call * workload.batch

    return train
