"""What an export holds besides `serving_default`, and how its versions come and go.

Nothing is exported from here: `tfstable export --list` takes `tfstable.serving.versions` without TensorFlow, and the
import of any module runs this file first.
"""
