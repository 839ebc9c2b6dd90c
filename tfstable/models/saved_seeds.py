"""Saves the states of random generators with a model's weights."""

from typing import Any

import keras


class SavedSeeds(keras.Model):
    """A Keras model whose files hold the states of its random generators. Keras saves none: dropout would differ."""

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        for number, state in enumerate(self._other_states()):
            store[f"seed_{number}"] = state

    def load_own_variables(self, store: Any) -> None:
        keys = list(store.keys())  # An entry of a file, not a dict.
        seeds = {f"seed_{number}": state for number, state in enumerate(self._other_states())}
        super().load_own_variables({key: store[key] for key in keys if not key.startswith("seed_")})
        for key, state in seeds.items():
            if key in keys:
                state.assign(store[key])

    def _other_states(self) -> list[Any]:
        """Seeds and calibration maps."""
        weights = {id(variable) for variable in self.weights}
        return [variable for variable in self.variables if id(variable) not in weights]
