"""Gentler orders than a full shuffle: pure functions of the key, whole permutations, and as gentle as they say."""

import numpy as np
import pytest

from tfstable.data.shuffle import BlockShuffle, FullShuffle, SwapShuffle

KEY, OTHER = (0, 738000, 1, 0), (1, 738000, 1, 0)  # Another seed; the same window, pass and buffer.
BATCH = 8


@pytest.mark.parametrize("rows", [1, 8, 63, 100])
@pytest.mark.parametrize("shuffle", [FullShuffle(), BlockShuffle(16), SwapShuffle()], ids=str)
def test_every_row_is_there_once_and_the_key_alone_decides(shuffle, rows):
    order = shuffle.rows(KEY, rows, BATCH)
    assert sorted(order) == list(range(rows))
    np.testing.assert_array_equal(order, shuffle.rows(KEY, rows, BATCH))
    if rows == 100:
        assert list(order) != list(shuffle.rows(OTHER, rows, BATCH))
        assert list(order) != list(shuffle.rows((*KEY[:2], 2, 0), rows, BATCH))  # Another pass.


def test_the_full_shuffle_is_the_permutation_it_has_always_been():
    expected = np.random.default_rng(KEY).permutation(100)
    np.testing.assert_array_equal(FullShuffle().rows(KEY, 100, BATCH), expected)


def test_blocks_stay_in_their_order_and_are_mixed_inside():
    order = BlockShuffle(20).rows(KEY, 100, BATCH)
    for block in range(5):
        own = order[20 * block : 20 * block + 20]
        assert set(own) == set(range(20 * block, 20 * block + 20))
        assert list(own) != sorted(own)
    # Any row of a block may come first: 200 orders bring all 20 of them (19/20 to the 200 is 4e-5 a row).
    assert {BlockShuffle(20).rows((seed, 5), 100, BATCH)[0] for seed in range(200)} == set(range(20))


def test_swaps_move_whole_batches_by_one_place_and_nothing_else():
    orders = [SwapShuffle().rows((seed, *KEY[1:]), 100, BATCH) for seed in range(100)]
    batches = [[frozenset(order[i : i + BATCH]) for i in range(0, 96, BATCH)] for order in orders]
    assert {frozenset(own) for own in batches} == {frozenset(batches[0])}  # The same twelve batches for every seed.
    for pair in range(6):
        seen = {tuple(own[2 * pair : 2 * pair + 2]) for own in batches}
        assert len(seen) == 2  # In both orders,
        first = [own[2 * pair] for own in batches]
        assert 25 <= first.count(first[0]) <= 75  # each about as often: 50 of 100, five standard deviations of 5.
    assert {tuple(order[96:]) for order in orders} == {tuple(orders[0][96:])}  # The last batch is not whole.


def test_where_not_everything_fits_the_units_of_gentle_orders_are_the_same_for_every_seed():
    assert list(FullShuffle().units(KEY[:3], 30)) != list(FullShuffle().units(OTHER[:3], 30))
    for shuffle in (BlockShuffle(16), SwapShuffle()):
        assert list(shuffle.units(KEY[:3], 30)) == list(shuffle.units(OTHER[:3], 30))
    assert list(BlockShuffle(16).units(KEY[:3], 30)) == list(range(30))
