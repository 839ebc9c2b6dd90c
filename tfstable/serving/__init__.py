"""Exported versions: their signatures, model card and warm-up requests, and their publication.

Nothing is exported from here: `tfstable export --list` takes `tfstable.serving.versions` without TensorFlow, and the
import of any module runs this file first.
"""
