"""Which features `tfstable explain` takes together."""

import pytest

from tfstable.errors import InputError
from tfstable.options import SequenceOptions
from trainers.studies.explain.units import Unit, named_groups, units

FEATURES = ("user", "age", "video", "seen", "gap", "liked")
SEQUENCES = {
    "watched": SequenceOptions(features=("seen", "gap"), query=("video",)),
    "liked_videos": SequenceOptions(features=("liked",), query=("video",)),
    "times": SequenceOptions(features=("gap",), attention="mean"),
}


def test_features_of_histories_keep_together():
    assert units(FEATURES, SEQUENCES, {}) == {
        "user": Unit(("user",)),
        "age": Unit(("age",)),
        "video": Unit(("video",)),
        "sequences/liked_videos": Unit(("liked",), ("liked_videos",)),
        "sequences/watched+times": Unit(("seen", "gap"), ("watched", "times")),
    }


def test_groups_join_features_and_histories():
    found = units(FEATURES, SEQUENCES, named_groups(["who=user,age", "past=watched,liked_videos"]))
    assert list(found) == ["video", "who", "past"]
    assert found["who"] == Unit(("user", "age"))
    assert found["past"] == Unit(("seen", "gap", "liked"), ("watched", "times", "liked_videos"))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["who"], "--group who: write NAME=FEATURE,FEATURE"),
        (["who=user,"], "--group who=user,: write NAME"),
        (["who=user", "who=age"], "--group who=age: the name who is taken"),
        (["who=nobody"], "--group who: no feature nobody; the features are user, age, video"),
        (["user=age"], "--group user: there is a feature or history of this name"),
        (["who=user", "me=user,age"], "--group me: another group has user already"),
        (["who=user,gap"], "--group who: gap belongs to a history; name that, watched"),
    ],
)
def test_wrong_groups_are_named(given, complaint):
    with pytest.raises(InputError) as raised:
        units(FEATURES, SEQUENCES, named_groups(given))
    assert str(raised.value).startswith(complaint)
