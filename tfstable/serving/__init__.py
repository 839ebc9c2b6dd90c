"""What an export holds besides `serving_default`, and how its versions come and go.

Nothing here imports TensorFlow until it is needed: `tfstable export --list` answers at once.
"""
