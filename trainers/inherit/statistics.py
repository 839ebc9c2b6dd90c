"""The statistics of a run that starts from a trained model: known ones stay as they are. Imports no TensorFlow."""

from tfstable.inputs.statistics import Statistics, table_name
from tfstable.specs import QuantileFeature, VocabularyFeature
from trainers.config import Config
from trainers.inherit.known import Known
from trainers.inherit.source import Source


def inherited(config: Config, fitted: Statistics, known: Known, source: Source) -> Statistics:
    """Returns the statistics of a new run.

    Vocabularies, moments, boundaries and base rates of what the source knows are the source's, since its weights fit
    them; others are as fitted. A larger `max_size` lets fitted values join behind the known ones; a smaller one cuts
    the rarest. Other `buckets` of a quantile feature take fitted boundaries.

    Args:
        config: The config of the new run.
        fitted: What was fitted on its first window.
        known: What is copied.
        source: The trained model.
    """
    before, features = source.statistics, config.features
    vocabularies, boundaries = dict(fitted.vocabularies), dict(fitted.boundaries)
    for table, (name, old) in known.tables.items():
        spec, was = features[name], source.features[old]
        if isinstance(spec, VocabularyFeature) and isinstance(was, VocabularyFeature):
            values = list(before.vocabularies[table_name(old, was)])
            if spec.max_size > was.max_size:
                had = set(values)
                values += [value for value in fitted.vocabularies[table] if value not in had]
            vocabularies[table] = values[: spec.max_size]  # type: ignore[assignment]
        if isinstance(spec, QuantileFeature) and isinstance(was, QuantileFeature):
            same = (spec.buckets, spec.boundaries) == (was.buckets, was.boundaries)
            boundaries |= {name: before.boundaries[old]} if same else {}
    moments = {name: before.moments[old] for name, old in known.features.items() if old in before.moments}
    return fitted.model_copy(
        update={
            "vocabularies": vocabularies,
            "boundaries": boundaries,
            "moments": fitted.moments | moments,
            "base_rates": fitted.base_rates | {name: before.base_rates[old] for name, old in known.tasks.items()},
        }
    )
