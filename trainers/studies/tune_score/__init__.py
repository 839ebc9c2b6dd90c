"""Weights of the tasks in the score of `rank`, tuned on evaluation days: `tfstable tune-score`."""
