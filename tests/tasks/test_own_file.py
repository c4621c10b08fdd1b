"""The task over a file of the user's own."""

import csv
import json
import os

import gin
import pytest
import seqio
import tensorflow_datasets as tfds

from switch_zoo.errors import UserError
from switch_zoo.launcher import evaluation, preflight, run_state
from switch_zoo.tasks import data_folder, own_file, own_file_formats, own_file_metrics, vocabularies


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
    ('a.json', JSONL, {}),
    ('a.jsonl', f'[{JSONL.strip().replace(chr(10), ",")}]', {}),
    ('a.json', '\ufeff' + JSONL.replace('\n', '\r\n'), {}),
    ('a.csv', 'question,answer\rhow many,3\ris it,True\r', {}),
    ('a.tsv', '"question"\t"answer"\n"how many"\t"3"\n"is it"\t"True"\n', {}),
    ('a.TSV', 'how many\t3\nis it\tTrue\n', {'columns': ['question', 'answer']}),
  ],
)
def test_formats(name, file, content, more):
  task = name(content, file, inputs='question', targets='answer', prefix='q: ', **more)
  assert rows(task) == EXPECTED
  assert task.splits == ['train'] and task.num_input_examples('train') == 2


@pytest.mark.parametrize(
  ('row', 'settings', 'expected'),
  [
    ('{"answers": {"text": ["me", "I"]}}', {'targets': 'answers.text'}, 'me'),
    ('{"answers.text": "a", "answers": {"text": "b"}}', {'targets': 'answers.text'}, 'a'),
    ('{"answers": [{"text": "me"}, {"text": "I"}]}', {'targets': 'answers.text'}, 'me'),
    ('{"a.b": {"c": {"d": 1}}}', {'targets': '<{a.b.c.d}>'}, '<1>'),
    ('{"a": "x", "my field": "y"}', {'targets': '{a} {my field}'}, 'x y'),
    # braces that are no field
    ('{"a": "x"}', {'targets': '{"q": "{a}", {}}}'}, '{"q": "x", {}}}'),
    ('{"a": "x"}', {'targets': '{{b}} = {a}'}, '{b} = x'),
    ('{"a": "x"}', {'targets': '} {a} {'}, '} x {'),
    ('{"{a}": "x"}', {'targets': '{a}'}, 'x'),
  ],
)
def test_fields_inside_fields_and_braces(row, settings, expected):
  (example,) = own_file.OwnFileRows('n', settings['targets'], '')({'n': 1, **json.loads(row)})
  assert example['targets'] == expected


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
    (JSONL, {'inputs': '{questions}'}, 'field "questions" is named by zoo_file.inputs.*Did you mean question[?]$'),
    (JSONL, {'inputs': 'question', 'targets': 'x'}, 'field "x" is missing; the row has: question, answer.$'),
    ('{"inputs": {"a": 1}, "targets": "x"}', {}, 'field "inputs" is {"a": 1}, neither text nor a number.'),
    ('{"inputs": "a", "targets": []}', {}, 'field "targets" is an empty list; at least one answer'),
    ('{"inputs": "a", "targets": [null]}', {}, 'field "targets" is null, neither text nor a number'),
    (
      '{"inputs": "a", "targets": NaN}',
      {},
      'a.jsonl, line 1: field "targets" is NaN, which is not a value.*skip_malfor',
    ),
    ('{"inputs": "a", "targets": -1e999}', {}, 'field "targets" is -Infinity, which is not a value'),
    ('{"answers": {"text": "a"}}', {'inputs': 'answers.txt'}, 'field "answers.txt" is missing.*mean answers.text[?]$'),
    (JSONL, {'inputs': '{"q": 1}'}, 'zoo_file.inputs. is missing, and no field is named in its braces. The row has: q'),
    (JSONL, {'inputs': '{anser} {{'}, 'named by zoo_file.inputs. Write {{anser}} if the braces are .* mean answer[?]'),
    ('{"inputs": "a"', {}, 'line 1: not JSON'),
    ('{\n  "data": [\n    {"a": 1}]}', {}, 'line 1: the file is one JSON object over several lines. It must be a list'),
    (JSONL, {'metrics': ['acuracy']}, 'no metric "acuracy". Did you mean accuracy[?] There are: accuracy, bleu'),
    (JSONL, {'metrics': 'sqad'}, 'no metric "sqad". Did you mean squad[?]'),
  ],
)
def test_mistakes_are_found_before_a_run(name, content, settings, message):
  name(content, **settings)
  with pytest.raises(UserError, match=message):
    preflight.data_can_be_read('zoo_file', 'train')


@pytest.mark.parametrize(
  ('file', 'content'),
  [
    ('a.tsv', 'a\tb\n'),
    ('a.csv', 'a,b'),
    ('a.jsonl', '\n\n'),
    ('a.json', '[]'),
    ('a.json', '\n[ ]\n'),
    ('a.tsv', '\t'),
  ],
)
def test_no_rows(name, file, content):
  name(content, file)
  with pytest.raises(UserError, match=f'{file}: there is not a single row'):
    preflight.data_can_be_read('zoo_file', 'train')


@pytest.mark.parametrize(
  ('file', 'content', 'message'),
  [
    ('a.csv', 'label,text,label\n1,2,3\n', 'a.csv, line 1: columns 1 and 3 are both named "label". Rename one'),
    ('a.tsv', '\nx\tx\n', 'a.tsv, line 2: columns 1 and 2 are both named "x"'),
    ('a.tsv', 'a\tb\n"x"\ty\n', 'a.tsv, line 2: a cell begins and ends with a quot.*"zoo_file.quoted = True".*False"'),
    ('a.tsv', 'a\tb\n"x\t"\ty\nz "z"\ty', 'a.tsv, line 2: a quotation mark encloses a cell, but in .*a.tsv, line 3, '),
  ],
)
def test_tables_that_can_be_read_in_two_ways(name, file, content, message):
  name(content, file)
  with pytest.raises(UserError, match=message):
    preflight.data_can_be_read('zoo_file', 'train')


def test_a_column_without_a_name_can_occur_twice(name):
  assert rows(name('inputs,targets,,\na,b,,\n', 'a.csv')) == [('a', 'b')]


def test_quotes_as_the_setting_says(name):
  content = 'inputs\ttargets\n"x"\ty\n'
  assert rows(name(content, 'a.tsv', quoted=True)) == [('x', 'y')]
  assert rows(name(content, 'a.tsv', quoted=False)) == [('"x"', 'y')]
  assert rows(name('inputs,targets\n"x",y\n', 'a.csv', quoted=False)) == [('"x"', 'y')]


CELLS = [
  ['q', 'a'],
  ['tab\there', 'x'],
  ['two\nlines', 'y'],
  ['"quoted" text', 'z'],
  ['', 'plain'],
  ["it's", '5" disk'],
]


@pytest.mark.parametrize('quoting', [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize('ending', ['tsv', 'csv'])
def test_tables_of_pandas(tmp_path, quoting, ending):
  pandas = pytest.importorskip('pandas')
  path = tmp_path / f'a.{ending}'
  table = pandas.DataFrame(CELLS[1:], columns=CELLS[0])
  separator = '\t' if ending == 'tsv' else ','
  table.to_csv(path, sep=separator, index=False, quoting=quoting)
  read = own_file_formats.reader_for([str(path)]).rows(str(path))
  assert [list(row.value.values()) for row in read] == CELLS[1:]


def test_a_path_with_brackets(name, tmp_path):
  folder = tmp_path / 'run[1]'
  folder.mkdir()
  for file in ('a[0].jsonl', 'b-1.jsonl', 'b-2.jsonl'):
    (folder / file).write_text('{}')
  find = lambda pattern: [os.path.basename(path) for path in data_folder.find('', str(folder / pattern))]
  assert find('a[0].jsonl') == ['a[0].jsonl'] and find('b-*.jsonl') == find('b-[12].jsonl') == [
    'b-1.jsonl',
    'b-2.jsonl',
  ]
  assert find('c*') == [] and data_folder.find('', str(tmp_path / 'run[2]' / 'x')) == []


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
