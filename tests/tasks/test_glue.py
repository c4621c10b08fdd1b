"""GLUE's rows by value, in every layout in which people have its files."""

import benchmark_files
import numpy as np
import pytest
import seqio
from t5.data import glue_utils

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder, glue, similarity
from switch_zoo.tasks.raw_files import BadField


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
  monkeypatch.setenv(data_folder.VARIABLE, str(tmp_path))
  return tmp_path


def read(task, split):
  source = seqio.TaskRegistry.get(task).source
  return [(example['inputs'], example['targets']) for example in source.examples(split)]


@pytest.mark.parametrize(
  ('task', 'split', 'rows'),
  [
    (
      'cola',
      'train',
      [
        ('cola sentence: Our friends won\'t buy "this".', 'acceptable'),
        ('cola sentence: They made him angry be.', 'unacceptable'),
      ],
    ),
    ('cola', 'test', [('cola sentence: Bill whistled.', '<unk>')]),
    ('sst2', 'validation', [('sst2 sentence: a gorgeous film ', 'positive')]),
    ('mrpc', 'validation', [('mrpc sentence1: He said "no. sentence2: He said no.', 'equivalent')]),
    ('qqp', 'validation', [('qqp question1: Why? question2: How?', 'not_duplicate')]),
    ('stsb', 'validation', [('stsb sentence1: A plane. sentence2: An air plane.', '4.8')]),
    ('mnli', 'validation', [('mnli hypothesis: It is wet. premise: It rains.', 'entailment')]),
    ('mnli_mismatched', 'validation', [('mnli hypothesis: It is dry. premise: It rains.', 'neutral')]),
    ('qnli', 'validation', [('qnli question: Who? sentence: It was he.', 'entailment')]),
    ('rte', 'validation', [('rte sentence1: It rains. sentence2: It is dry.', 'not_entailment')]),
    ('wnli', 'validation', [('wnli sentence1: I put it in. It broke. sentence2: The pin broke.', 'entailment')]),
  ],
)
def test_the_release_files(files, task, split, rows):
  benchmark_files.write_glue(files)
  assert read(f'zoo_glue_{task}', split) == rows


# Of each: file, its text, task, split, inputs, targets.
LAYOUTS = {
  'sentences of SST': (
    *('SST-2/stsa.binary.dev', '1 a stirring , funny film\n', 'sst2', 'validation'),
    *('sst2 sentence: a stirring , funny film', 'positive'),
  ),
  'STS benchmark': (
    *('STS-B/sts-train.csv', 'c\tv\t12\t01\t3.1\tA "b.\tC.\tmore\n', 'stsb', 'train'),
    *('stsb sentence1: A "b. sentence2: C.', '3.2'),
  ),
  'RTE of SuperGLUE': (
    'superglue/RTE/val.jsonl',
    '{"premise": "P.", "hypothesis": "H.", "label": "entailment"}\n',
    *('rte', 'validation', 'rte sentence1: P. sentence2: H.', 'entailment'),
  ),
  'no folder glue': (
    *('RTE/train.tsv', 'index\tsentence1\tsentence2\tlabel\n0\tP.\tH.\tentailment\n', 'rte', 'train'),
    *('rte sentence1: P. sentence2: H.', 'entailment'),
  ),
}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_other_layouts(files, layout):
  name, text, task, split, *row = LAYOUTS[layout]
  benchmark_files.write(files / name, text)
  assert read(f'zoo_glue_{task}', split) == [tuple(row)]


# Of each: file, its text, task, message.
WRONG = {
  'label': ('SST-2/dev.tsv', 'sentence\tlabel\nx\t2\n', 'sst2', 'line 2: field "label" is \'2\'; it must be one of'),
  'columns': ('CoLA/dev.tsv', 'gj04\t1\tWords.\n', 'cola', 'line 1: 3 columns instead of 4 (source, label, '),
  'header': ('RTE/dev.tsv', 'index\tsentence1\tlabel\n0\ta\tx\n', 'rte', 'line 2: field "label" is \'x\''),
  'text': ('RTE/dev.tsv', 'sentence1\tlabel\na\tentailment\n', 'rte', 'line 2: field "sentence2" is missing'),
  'no number': ('STS-B/sts-dev.csv', 'c\tv\t12\t01\tfive\ta\tb\n', 'stsb', 'line 1: field "score" is "five"; it'),
  'number': ('STS-B/sts-dev.csv', 'c\tv\t12\t01\t5.1\ta\tb\n', 'stsb', 'line 1: field "score" is "5.1"; it'),
  'line': ('SST-2/stsa.binary.dev', '1 good\nbad film\n', 'sst2', 'line 2: field "label" is \'bad\''),
}


@pytest.mark.parametrize('wrong', WRONG)
def test_what_is_wrong_is_reported(files, wrong):
  name, text, task, said = WRONG[wrong]
  benchmark_files.write(files / 'glue' / name, text)
  with pytest.raises(UserError) as error:
    read(f'zoo_glue_{task}', 'validation')
  assert str(error.value).startswith(f'{files / "glue" / name}, {said}')


@pytest.mark.parametrize('label', ['0', '1', '', None])
def test_a_test_row_may_have_a_label(label):
  record = {'sentence': 'a'} | ({} if label is None else {'label': label})
  [example] = glue.SST2.test_rows(record)
  assert example['targets'] == {'0': 'negative', '1': 'positive'}.get(label, '<unk>')


@pytest.mark.parametrize('score', ['', 'nan', 'inf', '-0.1'])
def test_a_score_is_a_number(score):
  with pytest.raises(BadField):
    list(similarity.rows({'sentence1': 'a', 'sentence2': 'b', 'score': score}))


def test_a_score_that_is_not_published():
  [example] = similarity.test_rows({'sentence1': 'a', 'sentence2': 'b'})
  assert example['targets'] == '<unk>'
  assert similarity.postprocess('<unk>', {'score': np.float32(example['score'])}, is_target=True) is None


def test_the_rates_of_the_mixture_are_those_of_t5():
  theirs = glue_utils.get_glue_weight_mapping()
  mixture = seqio.get_mixture_or_task('zoo_glue')
  ours = {f'{task.name.removeprefix("zoo_")}_v002': mixture.get_rate(task) for task in mixture.tasks}
  assert ours == {name: rate for name, rate in theirs.items() if name in ours}
  assert {name for name in theirs if name not in ours} == {'glue_mnli_matched_v002', 'glue_ax_v002'}


def test_mismatched_pairs_are_only_evaluated_on():
  assert sorted(seqio.TaskRegistry.get('zoo_glue_mnli_mismatched').splits) == ['test', 'validation']
