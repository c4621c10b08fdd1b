"""Made-up release files of SuperGLUE and GLUE, a few rows each, in the formats of the benchmarks."""

import json
import pathlib

_PASSAGE = {'text': 'Rex barks. Tom sleeps.', 'entities': [{'start': 0, 'end': 2}, {'start': 11, 'end': 13}]}
_ANSWERS = [{'text': 'a force', 'idx': 0, 'label': 1}, {'text': 'nothing', 'idx': 1, 'label': 0}]
_SPANS = {'span1_text': 'Mark', 'span1_index': 0, 'span2_text': 'He', 'span2_index': 3}

SUPERGLUE = {
  'BoolQ': [
    {'question': 'is it a dog', 'passage': 'Dog -- It is.', 'idx': 0, 'label': True},
    {'question': 'is it a cat', 'passage': 'Dog -- It is.', 'idx': 1, 'label': False},
  ],
  'CB': [
    {'premise': 'They say it rains.', 'hypothesis': 'it rains', 'label': 'neutral', 'idx': 0},
    {'premise': 'It rains.', 'hypothesis': 'it rains', 'label': 'entailment', 'idx': 1},
    {'premise': 'The sun shines.', 'hypothesis': 'it rains', 'label': 'contradiction', 'idx': 2},
  ],
  'COPA': [
    {'premise': 'It rained.', 'choice1': 'Rain.', 'choice2': 'Wet.', 'question': 'effect', 'label': 1, 'idx': 0}
  ],
  'MultiRC': [
    {
      'idx': 0,
      'version': 1.1,
      'passage': {
        'text': '<b>Sent 1: </b>A force moves.<br>',
        'questions': [{'question': 'What moves it?', 'idx': 0, 'answers': _ANSWERS}],
      },
    }
  ],
  'ReCoRD': [
    {
      'source': 'CNN',
      'idx': 0,
      'passage': _PASSAGE,
      'qas': [{'query': 'The dog @placeholder', 'idx': 0, 'answers': [{'start': 0, 'end': 2, 'text': 'Rex'}]}],
    }
  ],
  'RTE': [{'premise': 'It rains.', 'hypothesis': 'It is wet.', 'label': 'entailment', 'idx': 0}],
  'WiC': [
    {
      'word': 'place',
      'sentence1': 'My place.',
      'sentence2': 'No place for it.',
      'idx': 0,
      'label': False,
      **dict.fromkeys(('start1', 'start2', 'end1', 'end2'), 3),
      'version': 1.1,
    }
  ],
  'WSC': [
    {'text': 'Mark told Pete. He lied.', 'target': _SPANS, 'idx': 0, 'label': False},
    {'text': 'Mark told Pete. He lied.', 'target': {**_SPANS, 'span1_text': 'Pete', 'span1_index': 2}, 'idx': 1}
    | {'label': True},
  ],
}
GLUE = {
  'CoLA/train.tsv': 'gj04\t1\t\tOur friends won\'t buy "this".\ngj04\t0\t*\tThey made him angry be.\n',
  'CoLA/test.tsv': 'index\tsentence\n0\tBill whistled.\n',
  'SST-2/dev.tsv': 'sentence\tlabel\na gorgeous film \t1\n',
  'MRPC/dev.tsv': '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tHe said "no.\tHe said no.\n',
  'QQP/dev.tsv': 'id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tWhy?\tHow?\t0\n',
  'STS-B/dev.tsv': 'index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n'
  '0\tcaptions\tv\t2012\t0000\tnone\tnone\tA plane.\tAn air plane.\t4.750\n',
  'MNLI/dev_matched.tsv': 'index\tsentence1\tsentence2\tlabel1\tgold_label\n'
  '0\tIt rains.\tIt is wet.\tneutral\tentailment\n',
  'MNLI/dev_mismatched.tsv': 'index\tsentence1\tsentence2\tlabel1\tgold_label\n'
  '0\tIt rains.\tIt is dry.\tneutral\tneutral\n',
  'QNLI/dev.tsv': 'index\tquestion\tsentence\tlabel\n0\tWho?\tIt was he.\tentailment\n',
  'RTE/dev.tsv': 'index\tsentence1\tsentence2\tlabel\n0\tIt rains.\tIt is dry.\tnot_entailment\n',
  'WNLI/dev.tsv': 'index\tsentence1\tsentence2\tlabel\n0\tI put it in. It broke.\tThe pin broke.\t1\n',
}


def write_superglue(folder: pathlib.Path, split: str = 'val') -> None:
  """FOLDER/superglue/CB/val.jsonl and the others."""
  for task, rows in SUPERGLUE.items():
    write(folder / 'superglue' / task / f'{split}.jsonl', ''.join(json.dumps(row) + '\n' for row in rows))


def write_glue(folder: pathlib.Path) -> None:
  """FOLDER/glue/CoLA/train.tsv and the others."""
  for name, text in GLUE.items():
    write(folder / 'glue' / name, text)


def write(path: pathlib.Path, text: str) -> None:
  """A file and the folders above it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text, encoding='utf-8')
