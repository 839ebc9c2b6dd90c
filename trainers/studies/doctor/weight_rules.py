"""Rules on the weights: dead units, collapsed and idle tables, updates that are too large or too small."""

from collections.abc import Iterator

from trainers.studies.doctor.examine import Examination
from trainers.studies.doctor.finding import Finding

# Share of a layer's units that say the same of every row. ReLU networks lose a few; a layer that lost half is half as
# wide as its key says.
DEAD = 0.5
# Effective rank of a collapsed table, in which all rows lie almost on one line. Healthy tables of at least `DIRECTIONS`
# rows and columns had 3.2 and more.
COLLAPSED = 1.5
DIRECTIONS = 4
# A table that has trained less than this share of its rows, and whose other rows take at least this memory with
# Adagrad's slot, is too large. Below that, spare rows cost little and avoid collisions.
USED = 0.05
SPARE_MB = 100.0
# Change of a weight matrix in a window, relative to its norm: healthy ones moved by 0.009 to 0.05 a window after a
# week, and rows of tables by 0.03 to 0.26.
LARGE = 0.5
LARGE_ROWS = 1.0
SMALL = 3e-4


def weight_findings(e: Examination) -> Iterator[Finding]:
    """Yields the findings of layers, tables and updates."""
    yield from _units(e)
    yield from _tables(e)
    yield from _updates(e)


def _units(e: Examination) -> Iterator[Finding]:
    for name, layer in e.layers.items():
        dead = layer.zero + layer.constant
        if dead > DEAD * layer.units:
            line = f"{dead} of {layer.units} units are the same for every row ({layer.zero} of them 0)"
            remedy = f"a lower {_key(e, 'dense')}.learning_rate, or model.hidden_normalisation: true"
            if e.config.model.activation == "relu":
                remedy = f"model.activation: smelu, or {remedy}"
            yield Finding("dead units", name, line, remedy)


def _tables(e: Examination) -> Iterator[Finding]:
    for name, table in e.tables.items():
        keys = ", ".join(f"features.{feature}" for feature in table.features)
        rows = table.rows if table.trained is None else table.trained
        if table.rank is not None and min(rows, table.dim) >= DIRECTIONS and table.rank < COLLAPSED:
            line = f"its {rows:,} trained rows use {table.rank:.1f} of {table.dim} dimensions"
            remedy = f"a smaller dim of {keys}, or a lower {_key(e, 'embeddings')}.learning_rate"
            yield Finding("collapsed table", f"table {name}", line, remedy)
        spare = 0 if table.trained is None else table.rows - table.trained
        megabytes = spare * table.dim * 8 / 1e6
        if table.trained is not None and table.trained < USED * table.rows and megabytes > SPARE_MB:
            line = f"{spare:,} of {table.rows:,} rows have never been trained: {megabytes:,.0f} MB with Adagrad's slot"
            yield Finding("unused rows", f"table {name}", line, f"fewer buckets, or a smaller capacity, of {keys}")


def _updates(e: Examination) -> Iterator[Finding]:
    newest = e.updates[-1] if e.updates else None
    if newest is None or (since := newest.since) is None:
        return  # The first window begins with random weights.
    days = newest.last, newest.last
    # With one checkpoint a week, one of the windows between has moved the weights by at least the mean.
    windows = max(1, sum(since < record.last <= newest.last for record in e.windows))
    matrices = {
        path: r for path, r in newest.ratios.items() if path.endswith("/kernel") and not path.startswith("output_")
    }
    tables = {path: r for path, r in newest.ratios.items() if path.startswith("table ")}
    for ratios, bound, group in ((matrices, LARGE, "dense"), (tables, LARGE_ROWS, "embeddings")):
        for path, moved in ratios.items():
            if moved / windows > bound:
                line = f"from {since} to {newest.last} it moved by {moved:.0%} of its norm"
                remedy = f"a lower {_key(e, group)}.learning_rate, or {_key(e, group)}.clipping"
                yield Finding("large updates", path, line, remedy, *days)
    # The largest: a ReZero block moves no weight before its alpha has left 0.
    if matrices and 0 < max(matrices.values()) < SMALL:
        line = f"from {since} to {newest.last} no weight matrix moved by more than {SMALL:.2%} of its norm"
        yield Finding("small updates", "model", line, f"a higher {_key(e, 'dense')}.learning_rate", *days)


def _key(e: Examination, group: str) -> str:
    return f"optimizer.{group}" if e.config.optimizer.groups is None else "optimizer.groups: its"
