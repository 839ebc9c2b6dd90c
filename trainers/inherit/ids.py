"""Which id has which row at the start of a run that goes on from a trained model."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfstable.data.columns import ARROW, RawColumn
from tfstable.inputs.ids import IdMap
from tfstable.inputs.living_ids import Ids
from tfstable.inputs.statistics import table_name
from tfstable.specs import IdFeature, VocabularyFeature, living
from trainers.config import Config
from trainers.inherit.known import Known, is_living
from trainers.inherit.source import Source


def inherited_ids(config: Config, columns: dict[str, RawColumn], known: Known, source: Source) -> Ids:
    """Returns the maps of all tables whose rows are given to ids: the source's for those that it knows.

    A vocabulary there becomes a map: its values keep their rows, count as often as they must, and were last seen on the
    source's last day. Ids behind the last row of a smaller table lose theirs.

    Args:
        config: The config of the new run.
        columns: Raw columns of its features.
        known: What is copied.
        source: The trained model.
    """
    maps = {}
    for name, spec in living(config.features).items():
        table, dtype = table_name(name, spec), columns[spec.column or name].dtype
        if table in maps:
            continue
        maps[table] = IdMap.none(dtype)
        if table not in known.tables:
            continue
        _, old = known.tables[table]
        before, was = source.features[old], table_name(old, source.features[old])
        if is_living(before):
            capacity = spec.capacity if isinstance(spec, IdFeature) else spec.max_size
            every = source.ids()[was].known
            rows = pc.if_else(pc.greater(every["row"], capacity), pa.scalar(0, pa.int32()), every["row"])
            maps[table] = IdMap(every.set_column(1, "row", rows))
        elif isinstance(before, VocabularyFeature):
            ids = pa.array(source.statistics.vocabularies[was], ARROW[dtype])
            day = source.last.toordinal() if source.last else 1
            counts, last = np.full(len(ids), spec.min_count), np.full(len(ids), day)
            known_ids = IdMap.none(dtype).known.schema
            arrays = [ids, np.arange(1, len(ids) + 1), counts, last]
            maps[table] = IdMap(pa.table(dict(zip(known_ids.names, arrays, strict=True)), schema=known_ids))
    return Ids(maps)
