"""DIN in PyTorch: sparse tables, Adagrad, an eager loop; all but the tables compiled on demand."""

import itertools

import torch

from benchmarks.speed.din import DIM, LENGTH, ROWS, UNITS, batches
from benchmarks.speed.workload import LEARNING_RATE


class Attention(torch.nn.Module):
    """The published form: one product of a concatenation; or, `split`, ours: products of its parts."""

    def __init__(self, width: int, split: bool):
        super().__init__()
        self.width, self.split = width, split
        self.hidden, self.score = torch.nn.Linear(4 * width, 64), torch.nn.Linear(64, 1)

    def forward(self, q, k, present):
        if self.split:
            of_q, of_k, of_difference, of_product = self.hidden.weight.split(self.width, dim=1)
            x = k @ (of_k - of_difference).T + (q[:, None] * k) @ of_product.T
            x = x + torch.nn.functional.linear(q, of_q + of_difference, self.hidden.bias)[:, None]
        else:
            every = q[:, None].expand(-1, LENGTH, -1)
            x = self.hidden(torch.cat([every, k, every - k, every * k], dim=2))
        scores = self.score(torch.relu(x)).squeeze(2) * present
        return torch.bmm(scores[:, None], k).squeeze(1)


class Dense(torch.nn.Module):
    """All but the tables."""

    def __init__(self, split: bool):
        super().__init__()
        width = 2 * DIM
        self.attention = Attention(width, split)
        layers, before = [], 2 * width
        for units in UNITS:
            layers += [torch.nn.Linear(before, units), torch.nn.ReLU()]
            before = units
        self.bottom = torch.nn.Sequential(*layers, torch.nn.Linear(before, 1))

    def forward(self, q, k, present):
        return self.bottom(torch.cat([q, self.attention(q, k, present)], dim=1)).squeeze(1)


def make(batch: int, per_call: int, split: bool = False, compiled: bool = False):
    tables = torch.nn.ModuleList(torch.nn.Embedding(rows, DIM, sparse=True) for rows in ROWS)
    dense = Dense(split)
    parameters = [*tables.parameters(), *dense.parameters()]
    if compiled:
        dense = torch.compile(dense)
    optimizer = torch.optim.Adagrad(parameters, LEARNING_RATE, initial_accumulator_value=0.1)
    tensors = [
        (torch.from_numpy(q).long(), torch.from_numpy(k).long(), torch.from_numpy(y)) for q, k, y in batches(batch)
    ]
    forever = itertools.cycle(tensors)

    def train(calls):
        for ids, seen, labels in itertools.islice(forever, calls * per_call):
            rows = seen.clamp(min=0)
            q = torch.cat([table(ids[:, i]) for i, table in enumerate(tables)], dim=1)
            k = torch.cat([table(rows[..., i]) for i, table in enumerate(tables)], dim=2)
            logits = dense(q, k, (seen[..., 0] >= 0).float())
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return calls * per_call * batch

    return train
