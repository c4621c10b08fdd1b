"""The figures of a report, against plain loops and by hand."""

import collections

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from switch_zoo.report import statistics

EXPERTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=2, max_size=60)


@given(EXPERTS)
def test_counts_and_load_are_those_of_a_loop(pairs):
  group, expert = (np.array(column) for column in zip(*pairs, strict=True))
  counted = collections.Counter(pairs)
  assert statistics.counts(group, expert, 4, 3).tolist() == [[counted[g, e] for e in range(3)] for g in range(4)]
  shares = [sum(e == number for _, e in pairs) / len(pairs) for number in range(3)]
  assert statistics.load(expert, 3) == pytest.approx(shares)


@given(EXPERTS)
def test_deviations_are_those_of_the_hypergeometric_distribution(pairs):
  stats = pytest.importorskip('scipy.stats')

  group, expert = (np.array(column) for column in zip(*pairs, strict=True))
  table = statistics.counts(group, expert, 4, 3)
  found = statistics.deviations(table)
  for g in range(4):
    for e in range(3):
      rows, columns = table[g].sum(), table[:, e].sum()
      if 0 < rows < len(pairs) and 0 < columns < len(pairs):
        chance = stats.hypergeom(len(pairs), rows, columns)
        assert found[g, e] == pytest.approx((table[g, e] - chance.mean()) / chance.std(), abs=1e-6)


def test_what_an_expert_takes_is_found_and_its_lift_is_right():
  # Group 0 always goes to expert 1; everything else goes anywhere.
  generator = np.random.default_rng(0)
  group = generator.integers(0, 5, 2000)
  expert = np.where(group == 0, 1, generator.integers(0, 4, 2000))
  strong, noise = statistics.associations(group, expert, 5, 4)
  assert (strong[0].group, strong[0].expert, strong[0].count) == (0, 1, int((group == 0).sum()))
  assert strong[0].lift == pytest.approx(len(expert) / (expert == 1).sum())
  assert strong[0].deviations > 10 > noise > 1


@pytest.mark.parametrize('seed', range(5))
def test_noise_is_not_read_as_meaning(seed):
  generator = np.random.default_rng(seed)
  strong, _ = statistics.associations(generator.integers(0, 300, 5000), generator.integers(0, 16, 5000), 300, 16)
  assert len(strong) <= 1  # of 4,800 fields


def test_dead_and_overloaded():
  shares = np.array([0.01, 0.04, 0.55, 0.40])  # equal: 0.25
  assert statistics.dead(shares).tolist() == [0]
  assert statistics.overloaded(shares, 2.0).tolist() == [2]


def test_entropy_by_hand():
  assert statistics.entropy(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])) == pytest.approx(np.log(2) / 2)


def test_transitions_by_hand():
  table = statistics.transitions(np.array([0, 0, 0, 1]), np.array([0, 1, 1, 2]), 3)
  np.testing.assert_allclose(table, [[1 / 3, 2 / 3, 0], [0, 0, 1], [0, 0, 0]])


@given(EXPERTS)
def test_mutual_information_is_sklearns(pairs):
  metrics = pytest.importorskip('sklearn.metrics')
  first, second = (np.array(column) for column in zip(*pairs, strict=True))
  assert statistics.mutual_information(first, second) == pytest.approx(
    metrics.normalized_mutual_info_score(first, second), abs=1e-9
  )


def test_mutual_information_does_not_depend_on_numbers():
  first = np.array([0, 0, 1, 1, 2, 2, 2])
  renamed = np.array([1, 0, 2])[first]
  assert statistics.mutual_information(first, renamed) == pytest.approx(1)
  assert statistics.agreement(first, renamed) == pytest.approx(3 / 7)
  assert statistics.mutual_information(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])) == pytest.approx(0)
