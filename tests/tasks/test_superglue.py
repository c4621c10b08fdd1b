"""SuperGLUE's rows by value, in the files of its release, and what is wrong with them."""

import benchmark_files
import pytest
import seqio

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder, multirc, record_cloze, superglue, winograd
from switch_zoo.tasks.raw_files import BadField

CB = {'premise': 'It was a complex language.', 'hypothesis': 'the language was peeled down', 'label': 'entailment'}
COPA = {
  'premise': 'My body cast a shadow over the grass.',
  'choice1': 'The sun was rising.',
  'choice2': 'The grass was cut.',
  'question': 'cause',
  'label': 0,
}
WIC = {'word': 'place', 'sentence1': 'Come to my place.', 'sentence2': 'No place for it.', 'label': False}
WSC = {
  'text': 'Mark told Pete many lies about himself, which Pete included in his book. He should have been more '
  'skeptical.',
  'target': {'span2_index': 13, 'span1_index': 0, 'span1_text': 'Mark', 'span2_text': 'He'},
  'label': False,
}


@pytest.fixture
def files(tmp_path, monkeypatch):
  monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path))
  return tmp_path


def pairs(examples):
  return [(example['inputs'], example['targets']) for example in examples]


def read(task, split):
  return pairs(seqio.TaskRegistry.get(task).source.examples(split))


@pytest.mark.parametrize(
  ('rows', 'row', 'inputs', 'targets'),
  [
    (
      superglue.BOOLQ.rows,
      {'question': 'is it', 'passage': 'Real image -- It is.', 'label': True},
      'boolq passage: Real image -- It is. question: is it',
      'True',
    ),
    (
      superglue.CB.rows,
      CB,
      'cb hypothesis: the language was peeled down premise: It was a complex language.',
      'entailment',
    ),
    (
      superglue.COPA.rows,
      COPA,
      'copa choice1: The sun was rising. choice2: The grass was cut. premise: My body cast a shadow over the '
      'grass. question: cause',
      'choice1',
    ),
    (
      superglue.RTE.rows,
      {'premise': 'No Weapons Found.', 'hypothesis': 'Weapons Found.', 'label': 'not_entailment'},
      'rte hypothesis: Weapons Found. premise: No Weapons Found.',
      'not_entailment',
    ),
    (
      superglue.WIC.rows,
      WIC,
      'wic sentence1: Come to my place. sentence2: No place for it. word: place',
      'False',
    ),
    (
      winograd.rows,
      WSC,
      'wsc: Mark told Pete many lies about himself, which Pete included in his book. *He* should have been more '
      'skeptical.',
      'Mark',
    ),
  ],
  ids=['boolq', 'cb', 'copa', 'rte', 'wic', 'wsc'],
)
def test_a_row(rows, row, inputs, targets):
  assert pairs(rows(row)) == [(inputs, targets)]


def test_the_release_files_are_found_and_read(files):
  benchmark_files.write_superglue(files)
  assert read('zoo_superglue_multirc', 'validation') == [
    ('multirc question: What moves it? answer: a force paragraph: Sent 1: A force moves. ', 'True'),
    ('multirc question: What moves it? answer: nothing paragraph: Sent 1: A force moves. ', 'False'),
  ]
  assert read('zoo_superglue_record', 'validation') == [
    ('record query: The dog @placeholder entities: Rex, Tom passage: Rex barks. Tom sleeps.', 'Rex')
  ]
  tasks = seqio.get_mixture_or_task('zoo_superglue').tasks
  assert [len(read(task.name, 'validation')) for task in tasks] == [2, 3, 1, 2, 1, 1, 1, 2]


def test_a_folder_of_unpacked_archives_will_do(files):
  benchmark_files.write(files / 'CB' / 'val.jsonl', '{"premise": "p", "hypothesis": "h", "label": "neutral"}\n')
  assert read('zoo_superglue_cb', 'validation') == [('cb hypothesis: h premise: p', 'neutral')]


def test_wsc_trains_on_the_right_candidates_only(files):
  benchmark_files.write_superglue(files, 'train')
  assert read('zoo_superglue_wsc', 'train') == [('wsc: Mark told Pete. *He* lied.', 'Pete')]


def test_a_test_split_needs_no_labels(files):
  benchmark_files.write(files / 'superglue/WiC/test.jsonl', '{"word": "w", "sentence1": "a", "sentence2": "b"}\n')
  assert read('zoo_superglue_wic', 'test') == [('wic sentence1: a sentence2: b word: w', '<unk>')]


def test_a_wrong_label_is_reported_with_file_line_and_field(files):
  path = files / 'superglue/RTE/val.jsonl'
  rows = [f'{{"premise": "p", "hypothesis": "h", "label": "{label}"}}\n' for label in ('entailment', 'neutral')]
  benchmark_files.write(path, ''.join(rows))
  with pytest.raises(UserError) as error:
    read('zoo_superglue_rte', 'validation')
  wrong = 'field "label" is \'neutral\'; it must be one of: entailment, not_entailment.'
  assert str(error.value) == f'{path}, line 2: {wrong}'


OUTSIDE = {**WSC['target'], 'span1_text': 'A', 'span1_index': 19}
MULTIRC = benchmark_files.SUPERGLUE['MultiRC'][0]
RECORD = benchmark_files.SUPERGLUE['ReCoRD'][0]


def nested(row, *place, value):
  """The row with another value somewhere in it."""
  first, *rest = place
  copy = list(row) if isinstance(row, list) else dict(row)
  copy[first] = nested(row[first], *rest, value=value) if rest else value
  return copy


@pytest.mark.parametrize(
  ('rows', 'row', 'field'),
  [
    (superglue.BOOLQ.rows, {'question': 'q', 'label': True}, 'passage'),
    (superglue.BOOLQ.rows, {'question': 'q', 'passage': 'p'}, 'label'),
    (superglue.BOOLQ.rows, {'question': 'q', 'passage': 'p', 'label': 'True'}, 'label'),
    (superglue.BOOLQ.rows, {'question': 'q', 'passage': 'p', 'label': 1}, 'label'),
    (superglue.COPA.rows, {**COPA, 'label': 2}, 'label'),
    (superglue.COPA.rows, {**COPA, 'choice2': None}, 'choice2'),
    (superglue.CB.test_rows, {**CB, 'label': 'perhaps'}, 'label'),
    (multirc.rows, {'idx': 0}, 'passage'),
    (multirc.rows, nested(MULTIRC, 'passage', 'questions', value='none'), 'questions'),
    (multirc.rows, nested(MULTIRC, 'passage', 'questions', 0, 'answers', 0, 'label', value=2), 'label'),
    (multirc.rows, nested(MULTIRC, 'passage', 'text', value=5), 'text'),
    (record_cloze.rows, nested(RECORD, 'qas', 0, 'answers', value=[]), 'qas.answers'),
    (record_cloze.rows, nested(RECORD, 'passage', 'entities', 0, 'end', value=22), 'passage.entities'),
    (record_cloze.test_rows, nested(RECORD, 'qas', 0, value={'idx': 1}), 'query'),
    (winograd.rows, {**WSC, 'label': 'false'}, 'label'),
    (winograd.rows, nested(WSC, 'target', 'span2_text', value='she'), 'target.span2_text'),
    (winograd.rows, {**WSC, 'target': OUTSIDE}, 'target.span1_index'),
  ],
)
def test_a_bad_field_is_named(rows, row, field):
  with pytest.raises(BadField) as error:
    list(rows(row))
  assert error.value.field == field


@pytest.mark.parametrize(
  ('text', 'pronoun', 'index', 'marked'),
  [
    ('John laughed. "Good for him," he said.', 'him', 4, 'John laughed. "Good for *him* ," he said.'),
    ('They might want to use it , but why?', 'it', 4, 'They might want to use *it* , but why?'),
    ('It is it that it is.', 'it', 4, 'It is it that *it* is.'),
    ('Bob said that it was he.', 'he', 5, 'Bob said that it was *he* .'),
  ],
  ids=['marks on the word', 'index of the word before', 'the index decides', 'last word'],
)
def test_the_pronoun_is_marked(text, pronoun, index, marked):
  target = {'span1_text': text.split()[0], 'span1_index': 0, 'span2_text': pronoun, 'span2_index': index}
  assert pairs(winograd.rows({'text': text, 'target': target, 'label': True}))[0][0] == f'wsc: {marked}'


@pytest.mark.parametrize(
  ('candidate', 'index', 'fixed'),
  [('The cat.', 3, 'the cat'), ('the lawyer', 0, 'The lawyer'), ('the big\ncat', 3, 'the big cat')],
)
def test_the_candidate_is_written_as_in_the_text(candidate, index, fixed):
  target = {'span1_text': candidate, 'span1_index': index, 'span2_text': 'it', 'span2_index': 5}
  text = 'The lawyer saw the cat; it ran.'
  assert pairs(winograd.rows({'text': text, 'target': target, 'label': True}))[0][1] == fixed


@pytest.mark.parametrize(
  ('said', 'result'),
  [('Mark', 1), ('the mark', 1), ('Pete', 0), ('', -1), ("Mark's", 0)],
)
def test_what_counts_as_the_candidate(said, result):
  example = {'targets_pretokenized': b'Mark', 'label': 0}
  assert winograd.postprocess(said, example=example) == result
  assert winograd.postprocess('Mark', example=example, is_target=True) == 0
  assert winograd.postprocess('Mark', example={'label': -1}, is_target=True) is None


def test_the_rates_of_the_mixture_are_those_of_t5():
  from t5.data import glue_utils

  t5_names = {name: f'super_glue_{name.removeprefix("zoo_superglue_")}_v102' for name in superglue.TRAIN_ROWS}
  t5_names['zoo_superglue_wsc'] = 'super_glue_wsc_v102_simple_train'
  mixture = seqio.get_mixture_or_task('zoo_superglue')
  theirs = glue_utils.get_super_glue_weight_mapping()
  assert {task.name: mixture.get_rate(task) for task in mixture.tasks} == {
    name: theirs[t5_name] for name, t5_name in t5_names.items()
  }
