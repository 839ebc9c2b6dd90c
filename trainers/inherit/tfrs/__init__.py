"""Ranking models of TensorFlow Recommenders (TFRS) as sources: read without TFRS and without Keras 2."""
