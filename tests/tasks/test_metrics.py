"""Metrics on made-up predictions: against T5's, sacrebleu's and plain loops; ties, nonsense and empty answers."""

import collections
import math
import warnings

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from t5.data import postprocessors
from t5.evaluation import metrics as t5_metrics

from switch_zoo.tasks import metrics, multirc, record_cloze, similarity

CLASSES = st.sampled_from([-1, 0, 1])  # -1: the prediction is not a class
LABELS = st.sampled_from([0, 1])


def lists_of(*strategies, least=1):
  return st.lists(st.tuples(*strategies), min_size=least, max_size=12).map(lambda rows: list(zip(*rows, strict=True)))


def question_answers(question, label):
  """An example as the row function yields it."""
  return {'idx/paragraph': question // 3, 'idx/question': question, 'targets': ('False', 'True')[label]}


@given(lists_of(st.integers(0, 5), LABELS, CLASSES))
@settings(max_examples=60, deadline=None)
def test_multirc_is_t5s(rows):
  """Answers to one question are in any order; T5's postprocessor and metrics on the same texts."""
  examples = [question_answers(question, label) for question, label in zip(*rows[:2], strict=True)]
  said = [('False', 'True', 'maybe')[prediction] for prediction in rows[2]]

  def processed(postprocess):
    targets = [postprocess(example['targets'], example=example, is_target=True) for example in examples]
    return targets, [postprocess(text, example=example) for text, example in zip(said, examples, strict=True)]

  with warnings.catch_warnings(action='ignore'):  # of scikit-learn, where nothing is predicted
    theirs = t5_metrics.multirc_f1_over_all_answers(*processed(postprocessors.multirc))
    theirs |= t5_metrics.mean_group_metric(t5_metrics.all_match)(*processed(postprocessors.multirc))
    ours = {**metrics.multirc_f1(*processed(multirc.postprocess))}
  ours |= metrics.multirc_exact_match(*processed(multirc.postprocess))
  assert ours == pytest.approx(theirs)


def test_multirc_by_hand():
  """Question 0: both right; 1: one of two; 2: nonsense. TP 2, FP 0, FN 2 -> F1 = 4 / 6."""
  targets = [(1, 0), (1, 1), (0, 0), (0, 1), (1, 2), (1, 1)]
  predictions = [1, 1, 0, 0, -1, 0]
  assert metrics.multirc_f1(targets, predictions) == {'f1': pytest.approx(100 * 4 / 6)}
  assert metrics.multirc_exact_match(targets, predictions) == {'exact_match': pytest.approx(100 / 3)}


def test_multirc_questions_of_two_paragraphs_may_have_the_same_number():
  """T5 looks at the question's number alone, and would make one question of two."""
  examples = [{'idx/paragraph': paragraph, 'idx/question': 0} for paragraph in (0, 1)]
  targets = [multirc.postprocess('True', example, is_target=True) for example in examples]
  assert metrics.multirc_exact_match(targets, [1, 0]) == {'exact_match': 50.0}


WORDS = st.lists(st.sampled_from(['The', 'penguin', 'U.S.', "Tom's", 'a', '', '-']), max_size=3).map(' '.join)


@given(lists_of(st.integers(0, 3), st.lists(WORDS, min_size=1, max_size=3), WORDS))
@settings(max_examples=60, deadline=None)
def test_record_is_t5s(rows):
  examples = [{'idx/passage': 5, 'idx/query': query, 'answers': [a.encode() for a in answers]} for query, answers, _ in
              zip(*rows, strict=True)]  # fmt: skip

  def processed(postprocess):
    targets = [postprocess('', example=example, is_target=True) for example in examples]
    return targets, [postprocess(text, example=example) for text, example in zip(rows[2], examples, strict=True)]

  theirs = t5_metrics.deduplicate_metric(t5_metrics.squad)(*processed(postprocessors.record))
  assert metrics.record(*processed(record_cloze.postprocess)) == pytest.approx(theirs)


def test_record_by_hand():
  """The best answer counts; the second example of query 1 is the same question again and does not count."""
  targets = [(['Nova Scotia', 'Halifax'], 1), (['Nova Scotia', 'Halifax'], 1), (['the Penguin'], 2), (['Rex'], 3)]
  predictions = ['halifax', 'wrong', 'penguin bird', '']
  # Exact: 1, 0, 0. F1: 1, 2 * (1/2 * 1) / (3/2) = 2/3, 0.
  assert metrics.record(targets, predictions) == pytest.approx({'em': 100 / 3, 'f1': 100 * (1 + 2 / 3) / 3})


@given(lists_of(LABELS, CLASSES))
@settings(max_examples=40, deadline=None)
def test_f1_of_two_classes_by_counting(rows):
  targets, predictions = map(list, rows)
  pairs = collections.Counter(zip(targets, predictions, strict=True))
  right = pairs[1, 1]
  wrong = pairs[1, 0] + pairs[1, -1] + pairs[0, 1] + pairs[0, -1]
  with warnings.catch_warnings(action='ignore'):
    assert metrics.binary_f1(targets, predictions)['f1'] == pytest.approx(200 * right / max(1, 2 * right + wrong))


def test_cb():
  """Per class: entailment 2/3, contradiction 1, neutral 0 (the nonsense)."""
  targets, predictions = [0, 0, 1, 2], [0, 1, 1, -1]
  # Entailment: P 1, R 1/2 -> 2/3. Contradiction: P 1/2, R 1 -> 2/3. Neutral: 0.
  assert metrics.three_class_f1(targets, predictions) == {'mean_3class_f1': pytest.approx(100 * 4 / 9)}
  assert metrics.accuracy(targets, predictions) == {'accuracy': 50.0}


def test_matthews_by_hand():
  """TP 2, TN 1, FP 1, FN 0: (2 * 1 - 1 * 0) / sqrt(3 * 2 * 2 * 1)."""
  assert metrics.matthews([1, 1, 0, 0], [1, 1, 1, 0]) == {'matthews_corrcoef': pytest.approx(100 * 2 / math.sqrt(12))}


SCORES = [5.0, 2.5, 2.5, 0.0, 3.75]
SAID = [4.8, 2.6, 1.0, 1.0, -1.0]  # a tie on either side, and one that was not a number


@pytest.mark.parametrize(
  ('ours', 'theirs'),
  [(metrics.pearson, t5_metrics.pearson_corrcoef), (metrics.spearman, t5_metrics.spearman_corrcoef)],
  ids=['pearson', 'spearman'],
)
def test_correlations_are_t5s(ours, theirs):
  assert ours(SCORES, SAID) == pytest.approx(theirs(SCORES, SAID))


def test_spearman_by_hand():
  """Ranks of SCORES: 5, 2.5, 2.5, 1, 4; of SAID: 5, 4, 2.5, 2.5, 1; each less 3, multiplied and added."""
  one, two = np.array([5, 2.5, 2.5, 1, 4]) - 3, np.array([5, 4, 2.5, 2.5, 1]) - 3
  expected = 100 * (one @ two) / math.sqrt((one @ one) * (two @ two))
  assert metrics.spearman(SCORES, SAID) == {'spearman_corrcoef': pytest.approx(expected)}


@pytest.mark.parametrize('metric', [metrics.pearson, metrics.spearman])
def test_a_constant_is_correlated_with_nothing(metric):
  """T5's is NaN: one such task would make the benchmark's mean NaN."""
  assert list(metric(SCORES, [-1.0] * 5).values()) == [0.0]
  assert list(metric([2.0, 2.0], [1.0, 2.0]).values()) == [0.0]


def test_the_scores_of_stsb_are_those_given():
  """T5 measures against 3.8, which it writes for 3.75."""
  assert similarity.postprocess('3.8', {'score': np.float32(3.75)}, is_target=True) == 3.75
  assert [similarity.postprocess(text) for text in ('3.8', 'five', '', 'nan', 'inf')] == [3.8, -1, -1, -1, -1]


ARTICLES = ['the cat sat on the mat . it slept .', 'rain falls', 'no overlap here']
SUMMARIES = ['a cat sat on a mat . it slept .', '', 'words alike: none']


def test_rouge_is_t5s_where_chance_has_no_part():
  """T5 draws examples at random for its mean: if all are equal there is only one possible value."""
  for article, summary in zip(ARTICLES, SUMMARIES, strict=True):
    assert metrics.rouge([article] * 3, [summary] * 3) == pytest.approx(t5_metrics.rouge([article] * 3, [summary] * 3))


def test_rouge_by_hand():
  """rouge1 of 'a b c' and 'a b d e': 2 common, P 2/4, R 2/3 -> F 4/7; rouge2: 1 common, 1/3, 1/2 -> 2/5."""
  found = metrics.rouge(['a b c', 'x'], ['a b d e', ''])
  assert found == pytest.approx({'rouge1': 50 * 4 / 7, 'rouge2': 50 * 2 / 5, 'rougeLsum': 50 * 4 / 7})


def test_rouge_of_sentences():
  """Sentences end at ' . ': their order does not matter to ROUGE-Lsum."""
  assert metrics.rouge(['a b . c d'], ['c d . a b'])['rougeLsum'] == pytest.approx(100)


def test_bleu_is_sacrebleus():
  targets = ["It's raining, isn't it?", 'That is good.', 'Empty.']
  predictions = ["It's raining, is it?", 'That is good.', '']
  expected = sacrebleu.BLEU().corpus_score(predictions, [targets])
  assert 0 < expected.score < 100
  assert metrics.bleu(targets, predictions) == {'bleu': expected.score}


@pytest.mark.parametrize(
  ('metric', 'targets', 'predictions'),
  [
    (metrics.accuracy, [1, None, 0], [1, 1, 1]),
    (metrics.squad, [['Yes'], None, ['No']], ['yes', 'x', 'maybe']),
    (metrics.multirc_exact_match, [(1, 0), None, (1, 1)], [1, 1, 0]),
    (metrics.record, [(['Rex'], 0), None, (['Tom'], 1)], ['rex', '', '']),
  ],
  ids=['accuracy', 'squad', 'multirc', 'record'],
)
def test_unlabelled_examples_are_not_measured(metric, targets, predictions):
  assert next(iter(metric(targets, predictions).values())) == 50.0
  assert metric([None, None], predictions[:2]) == {}


@given(lists_of(st.lists(WORDS, min_size=1, max_size=3), WORDS))
@settings(max_examples=30, deadline=None)
def test_questions_are_measured_as_t5_does(rows):
  targets, predictions = rows
  assert metrics.squad(targets, predictions) == t5_metrics.squad(targets, predictions)
  assert metrics.trivia_qa(targets, predictions) == t5_metrics.trivia_qa(targets, predictions)
