"""The task over a file of the user's own."""

import gin
import pytest
import seqio
import tensorflow_datasets as tfds

from switch_zoo.errors import UserError
from switch_zoo.launcher import evaluation, preflight, run_state
from switch_zoo.tasks import own_file, own_file_metrics, vocabularies


@pytest.fixture(autouse=True)
def byte_vocabulary(monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'bytes')


@pytest.fixture
def name(tmp_path):
  """Writes a file and names it with gin."""

  def name(content, file='a.jsonl', split='train', **settings):
    (tmp_path / file).write_text(content)
    gin.parse_config([f'zoo_file.{split} = {str(tmp_path / file)!r}'])
    gin.parse_config([f'zoo_file.{key} = {value!r}' for key, value in settings.items()])
    return seqio.get_mixture_or_task('zoo_file')

  return name


def rows(task, split='train'):
  found = tfds.as_numpy(task.get_dataset({'inputs': 99, 'targets': 99}, split, shuffle=False))
  return [(row['inputs_pretokenized'].decode(), row['targets_pretokenized'].decode()) for row in found]


JSONL = '{"question": "how many", "answer": 3}\n{"question": "is it", "answer": true}\n'
EXPECTED = [('q: how many', '3'), ('q: is it', 'True')]


@pytest.mark.parametrize(
  ('file', 'content', 'more'),
  [
    ('a.jsonl', JSONL, {}),
    ('a.json', f'[{JSONL.strip().replace(chr(10), ",")}]', {}),
    ('a.tsv', 'question\tanswer\nhow many\t3\nis it\tTrue\n', {}),
    ('a.csv', 'answer,question\n3,"how many"\nTrue,is it\n', {}),
    ('a.TSV', 'how many\t3\nis it\tTrue\n', {'columns': ['question', 'answer']}),
  ],
)
def test_formats(name, file, content, more):
  task = name(content, file, inputs='question', targets='answer', prefix='q: ', **more)
  assert rows(task) == EXPECTED
  assert task.splits == ['train'] and task.num_input_examples('train') == 2


def test_ids(name):
  task = name('{"inputs": "ab", "targets": "c"}')
  row = next(iter(tfds.as_numpy(task.get_dataset({'inputs': 9, 'targets': 9}, 'train', shuffle=False))))
  assert row['inputs'].tolist() == [3 + ord('a'), 3 + ord('b'), 1]
  assert row['targets'].tolist() == [3 + ord('c'), 1]


def test_a_form_of_several_fields(name):
  task = name('{"q": "who", "p": "I.", "a": ["me", "I"]}', inputs='question: {q} context: {p}', targets='a')
  assert rows(task) == [('question: who context: I.', 'me')]


def test_a_target_is_all_answers(name):
  task = name('{"inputs": "x", "targets": ["me", "I"]}', metrics=['squad', 'accuracy'])
  example = next(iter(tfds.as_numpy(task.get_dataset({'inputs': 9, 'targets': 9}, 'train', shuffle=False))))
  target = task.postprocess_fn('me', example=example, is_target=True)
  assert target == ['me', 'I']
  said = task.postprocess_fn('the I', example=example, is_target=False)
  squad, accuracy = task.metric_fns
  assert squad([target], [said]) == {'em': 100.0, 'f1': 100.0}
  assert accuracy([target], [said]) == {'accuracy': 0.0}


ANSWERS = [['cat'], ['dog'], ['dog'], ['cow']]
SAID = ['cat', 'the dog', 'cat', 'cow']


@pytest.mark.parametrize(
  ('metric', 'answers', 'said', 'expected'),
  [
    ('accuracy', ANSWERS, SAID, {'accuracy': 50.0}),
    ('exact_match', ANSWERS, SAID, {'em': 75.0}),
    ('f1', ANSWERS, SAID, {'f1': 75.0}),
    # cat 2/3, cow 1, dog 0
    ('macro_f1', ANSWERS, SAID, {'macro_f1': 100 * (2 / 3 + 1 + 0) / 3}),
    ('matthews', [['a'], ['b'], ['a'], ['b']], ['a', 'b', 'a', 'b'], {'matthews_corrcoef': 100.0}),
    ('pearson', [['1'], ['2'], ['3']], ['2', '4', '6.0'], {'pearson_corrcoef': 100.0}),
    ('spearman', [['1'], ['2'], ['3']], ['10', 'no number', '99'], {'spearman_corrcoef': 50.0}),
    ('trivia_qa', [['The Cat', 'x'], ['y']], ['cat', ''], {'em': 50.0, 'f1': 50.0}),
    ('bleu', [['a b c d e']], ['a b c d e'], {'bleu': 100.0}),
    ('rouge', [['a b']], ['a b'], {'rouge1': 100.0, 'rouge2': 100.0, 'rougeLsum': 100.0}),
  ],
)
def test_metrics(metric, answers, said, expected):
  found = own_file_metrics.METRICS[metric](answers, said)
  assert found == pytest.approx(expected)


def test_every_metric_takes_empty_predictions():
  for name, metric in own_file_metrics.METRICS.items():
    assert all(value >= 0 for value in metric([['1'], ['2']], ['', '']).values()), name


def test_metrics_go_through_the_recording_of_an_evaluation(name):
  task = name('{"inputs": "x", "targets": "y"}', metrics=['accuracy'])
  (metric,) = task.metric_fns
  run = run_state.Run()
  evaluation.measure(run, 'zoo_file', metric, [['a'], ['b']], ['a', 'a'])
  assert [(result.metric, result.value) for result in run.results] == [('accuracy', 50.0)]


@pytest.mark.parametrize(
  ('content', 'settings', 'message'),
  [
    (JSONL, {'inputs': 'qestion'}, 'a.jsonl, line 1: field "qestion" is missing.*Did you mean question[?]$'),
    (JSONL, {'inputs': '{questions}'}, 'field "questions" is missing.*Did you mean question[?]$'),
    (JSONL, {'inputs': 'question', 'targets': 'x'}, 'field "x" is missing; the row has: question, answer.$'),
    ('{"inputs": {"a": 1}, "targets": "x"}', {}, 'field "inputs" is {"a": 1}, neither text nor a number.'),
    ('{"inputs": "a", "targets": []}', {}, 'field "targets" is an empty list; at least one answer'),
    ('{"inputs": "a", "targets": [null]}', {}, 'field "targets" is null, neither text nor a number'),
    ('{"inputs": "a"', {}, 'line 1: not JSON'),
    (JSONL, {'metrics': ['acuracy']}, 'no metric "acuracy". Did you mean accuracy[?] There are: accuracy, bleu'),
    (JSONL, {'metrics': 'sqad'}, 'no metric "sqad". Did you mean squad[?]'),
  ],
)
def test_mistakes_are_found_before_a_run(name, content, settings, message):
  name(content, **settings)
  with pytest.raises(UserError, match=message):
    preflight.data_can_be_read('zoo_file', 'train')


def test_nothing_is_named():
  assert seqio.get_mixture_or_task('zoo_file').splits == own_file.SPLITS
  with pytest.raises(UserError, match='none is named for the split "train". Set --gin_param="zoo_file.train = '):
    preflight.data_can_be_read('zoo_file', 'train')
  assert own_file.OwnFileSource().state().missing == ('a file of your own',)


def test_a_file_that_is_not_there():
  gin.parse_config("zoo_file.validation = '/nowhere/v.tsv'")
  with pytest.raises(UserError, match='zoo_file.validation = "/nowhere/v.tsv": there is no such file'):
    preflight.data_can_be_read('zoo_file', 'validation')
  assert own_file.OwnFileSource().state().missing == ('zoo_file.validation = "/nowhere/v.tsv"',)


def test_a_name_without_format(name):
  name(JSONL, 'a.txt')
  with pytest.raises(UserError, match='a.txt" does not tell the format. It must end in .jsonl, .json, .tsv, .csv'):
    preflight.data_can_be_read('zoo_file', 'train')
