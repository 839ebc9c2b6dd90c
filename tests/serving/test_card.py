"""The model card as a file: what is written comes back, and cards of before are read."""

import json

import pytest

from tfstable.errors import InputError
from tfstable.files import FORMAT
from tfstable.serving import card as cards
from tfstable.serving.card import Evaluation, ModelCard

FULL = ModelCard(
    "2025-01-03",
    withdrawn=("2025-01-04",),
    promoted_from=2,
    model={"class": "my.Model", "weights": 7, "precision": "float32"},
    data={"log": "logs/mine", "first_day": "2025-01-01", "last_day": "2025-01-03"},
    evaluation=Evaluation(("2025-01-01", "2025-01-02"), "2025-01-03", {"click": {"auc": 0.75, "gauc": None}}),
    config_hash="ab12",
    tasks={"click": {"kind": "binary", "label": "click"}},
    weight="w",
    score_weights={"click": 1.0},
    versions={"keras": "3.12.0"},
    created="2025-01-05T00:00:00+00:00",
    columns={"user_id": {"dtype": "int64", "width": None}},
    signatures={"serving_default": {"inputs": {"user_id": {"dtype": "int64", "shape": [None]}}, "outputs": {}}},
    files={"saved_model.pb": "cd34"},
)


def test_a_card_comes_back_from_its_file(tmp_path):
    for card in (FULL, ModelCard("2025-01-03")):
        cards.write(tmp_path, card)
        assert cards.read(tmp_path) == card


def test_its_json_has_the_keys_that_runs_of_before_wrote(tmp_path):
    cards.write(tmp_path, FULL)
    written = json.loads((tmp_path / "model_card.json").read_text())
    assert written.pop("format") == FORMAT
    assert written.pop("checksum")
    assert written.pop("evaluation") == {
        "window": ["2025-01-01", "2025-01-02"],
        "day": "2025-01-03",
        "tasks": {"click": {"auc": 0.75, "gauc": None}},
    }
    assert written.pop("withdrawn") == ["2025-01-04"]
    assert written == {name: value for name, value in vars(FULL).items() if name not in ("evaluation", "withdrawn")}
    cards.write(tmp_path, ModelCard("2025-01-03"))
    assert "files" not in json.loads((tmp_path / "model_card.json").read_text())  # Not published yet.


def test_a_card_of_format_1_and_of_another_program(tmp_path):
    path = tmp_path / "model_card.json"
    old = {
        "window_end": "2025-01-03",
        "withdrawn": [],
        "promoted_from": None,
        "signatures": {},
        "columns": {},
        "own": 1,
    }
    path.write_text(json.dumps(old))
    assert cards.read(tmp_path) == ModelCard("2025-01-03")
    path.write_text(json.dumps({"window_end": "2025-01-03"}))
    with pytest.raises(InputError, match="not a model card of tfstable: it lacks withdrawn; name another version"):
        cards.read(tmp_path)


def test_markdown(tmp_path):
    text = cards.markdown(FULL)
    assert "- trained through: 2025-01-03\n- data: log logs/mine, first_day 2025-01-01, last_day 2025-01-03\n" in text
    assert "On 2025-01-03, by the model trained on 2025-01-01 to 2025-01-02.\n\n| task | auc | gauc |" in text
    assert "| click | 0.7500 |  |" in text
    assert "| inputs | user_id | int64 | [?] |" in text
    assert "## Evaluation" not in cards.markdown(ModelCard("2025-01-03"))
