"""Vocabularies: opened at first use, with an error that helps when the file is not there.

T5's ids throughout: 0 padding, 1 end of sequence, 2 unknown; 100 sentinels take the last ids, `<extra_id_0>` the
very last (arXiv:1910.10683, section 3.1.4; `seqio.SentencePieceVocabulary`).
"""
import io
import os
import pathlib
from collections.abc import Callable, Iterable

import gin
import sentencepiece
import seqio

from switch_zoo.errors import UserError

NUM_SENTINELS = 100
DEMO_VARIABLE = 'SWITCH_ZOO_DEMO_VOCAB'
VARIABLE = 'SWITCH_ZOO_VOCAB'
T5_FILE = 'gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model'


class LazyVocabulary(seqio.SentencePieceVocabulary):
  """A sentencepiece vocabulary and 100 sentinels; which file it is, is asked when the vocabulary is first used.

  So a task can be declared at import, before gin or the environment say where its vocabulary lies.
  """

  def __init__(self, find_file: Callable[[], str]):
    """Opens nothing.

    Args:
      find_file: returns the path of an existing sentencepiece model, or raises UserError
    """
    self._find_file = find_file
    super().__init__(sentencepiece_model_file='', extra_ids=NUM_SENTINELS)

  @property
  def sentencepiece_model_file(self) -> str:
    """Path of the model; UserError when there is none."""
    return self._find_file()

  def _model_context(self):
    path = self._find_file()
    if path != self._sentencepiece_model_file:
      self._sentencepiece_model_file, self._model = path, None
    return super()._model_context()

  def __eq__(self, other):
    return isinstance(other, LazyVocabulary) and self._find_file == other._find_file

  def __hash__(self):
    return hash(self._find_file)


@gin.configurable(module='vocabularies')
def demo_vocabulary_file(path: str = '') -> str:
  """Where the vocabulary of the zoo_demo tasks lies: gin's `demo_vocabulary_file.path`, else SWITCH_ZOO_DEMO_VOCAB.

  `switch_zoo demo --out DIR` trains one and keeps it as DIR/vocabulary.model.

  Returns:
    the path
  Raises:
    UserError: neither is set, or there is no such file
  """
  remedy = (
      f'`switch_zoo demo --out DIR` trains one; then set {DEMO_VARIABLE}=DIR/vocabulary.model, or '
      '--gin_param="demo_vocabulary_file.path = \'DIR/vocabulary.model\'".'
  )
  path = path or os.environ.get(DEMO_VARIABLE, '')
  if not path:
    raise UserError(f'The zoo_demo tasks have no vocabulary: {DEMO_VARIABLE} is not set. {remedy}')
  if not os.path.isfile(path):
    raise UserError(f'There is no vocabulary "{path}" ({os.path.abspath(path)}) for the zoo_demo tasks. {remedy}')
  return path


@gin.configurable(module='vocabularies')
def vocabulary_file(path: str = '') -> str:
  """Where the vocabulary of the tasks lies: gin's `vocabulary_file.path`, else SWITCH_ZOO_VOCAB, else T5's bucket."""
  return path or os.environ.get(VARIABLE, '') or T5_FILE


DEFAULT = LazyVocabulary(vocabulary_file)


def train(texts: Iterable[str], path: pathlib.Path, num_pieces: int) -> None:
  """Trains a unigram sentencepiece model with T5's special ids; the same texts give the same bytes.

  Args:
    texts: one paragraph each
    path: where the model is written, whole or not at all
    num_pieces: pieces, special ones included; the sentinels come on top when it is opened
  """
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(texts),
      model_writer=model,
      model_type='unigram',
      vocab_size=num_pieces,
      pad_id=0,
      eos_id=1,
      unk_id=2,
      bos_id=-1,
      character_coverage=0.9995,
      max_sentence_length=1 << 16,
      num_threads=1,  # sums over threads would depend on their order
      minloglevel=2,
  )
  partial = path.with_name(path.name + '.partial')
  partial.write_bytes(model.getvalue())
  partial.replace(path)
