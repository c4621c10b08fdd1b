"""Vocabularies: opened at first use, with an error that helps if the file is not there.

All have T5's special ids (`spec.token_ids`; arXiv:1910.10683, section 3.1.4; `seqio.SentencePieceVocabulary`).
"""

import functools
import io
import os
import pathlib
import queue
import threading
import types
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gin
import sentencepiece
import seqio
import tensorflow as tf
import tensorflow_text as tf_text
from seqio import vocabularies as seqio_vocabularies

from switch_zoo.errors import UserError
from switch_zoo.spec.token_ids import END, NUM_SENTINELS, PADDING, UNKNOWN
from switch_zoo.vocabulary import files
from switch_zoo.vocabulary.opening import open_table
from switch_zoo.vocabulary.python_text import PythonText
from switch_zoo.vocabulary.tensor_text import TensorText

DEMO_VARIABLE = 'SWITCH_ZOO_DEMO_VOCAB'
VARIABLE = 'SWITCH_ZOO_VOCAB'
MT5_VARIABLE = 'SWITCH_ZOO_MT5_VOCAB'
TARGET_VARIABLE = 'SWITCH_ZOO_TARGET_VOCAB'
BYTES = 'bytes'
_BUCKET = 'gs://t5-data/vocabs'
_PATIENCE = 4  # seconds
_TOKENIZERS = '_switch_zoo_tokenizers'
_EAGER = types.SimpleNamespace()  # keeps tokenizers that belong to no graph


class _Operations:
  """Text as tensors in a graph.

  text: encodes and decodes
  encode: `text.encode` as a function that the graph has once: traced for each of a hundred languages, it takes minutes,
    and gigabytes
  """

  def __init__(self, text: TensorText) -> None:
    self.text = text
    self.encode: Any = tf.function(text.encode, [tf.TensorSpec([None], tf.string)], autograph=False)


class LazyVocabulary(seqio.SentencePieceVocabulary):
  """A vocabulary with sentinels; which file it is, is decided when the vocabulary is first used.

  So a task can be declared at import, before gin or the environment say where its vocabulary is. The file is a
  sentencepiece model, which gets 100 sentinels unless it has its own, or a tokenizer.json.
  """

  def __init__(self, find_file: Callable[[], str]) -> None:
    """Opens nothing.

    Args:
      find_file: returns the path of an existing file, or raises UserError
    """
    self._find_file = find_file
    super().__init__(sentencepiece_model_file='')

  @property
  def sentencepiece_model_file(self) -> str:
    """Path of the vocabulary; UserError if there is none."""
    return self._find_file()

  @property
  def eos_id(self) -> int:
    """Id of the end of a sequence."""
    return END

  @property
  def unk_id(self) -> int:
    """Id of unknown text."""
    return UNKNOWN

  @property
  def first_sentinel(self) -> int:
    """Id of `<extra_id_0>`, from which span corruption counts down; UserError if the sentinels have another order."""
    table = self._text().table
    ids = {token.content: token.id for token in table.added}
    first = table.first_sentinel
    if first is None or ids.get('<extra_id_1>') != first - 1:
      raise UserError(
        f'The vocabulary {table.path} has no sentinels in the order of T5, <extra_id_0> after <extra_id_1>, which span '
        'corruption needs. Choose a vocabulary that has them, or a task without span corruption.'
      )
    return first

  def _text(self) -> PythonText:
    path = self._find_file()
    return _opened(path, tf.io.gfile.stat(path).mtime_nsec if files.is_file(path) else 0)

  def _model_context(self) -> seqio_vocabularies._ModelContext:
    text = self._text()
    return seqio_vocabularies._ModelContext(tokenizer=text.processor, sp_model=text.table.model)

  def _operations(self) -> '_Operations':
    """One set per graph: seqio makes one for every task of a mixture, each of 10 MB or more."""
    table = self._text().table
    with tf.init_scope():
      # The graph keeps its tokenizers, so they are freed with it.
      keeper = _EAGER if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
      if not hasattr(keeper, _TOKENIZERS):
        setattr(keeper, _TOKENIZERS, {})
      tokenizers = getattr(keeper, _TOKENIZERS)
      if table not in tokenizers:
        tokenizers[table] = _Operations(TensorText(table))
      return tokenizers[table]

  @property
  def tf_tokenizer(self) -> tf_text.SentencepieceTokenizer:
    """The tokenizer of tensors, which knows nothing of sentinels and added tokens."""
    return self._operations().text.pieces

  def _encode(self, s: str) -> Sequence[int]:
    return self._text().encode(s)

  def _decode(self, ids: Sequence[int]) -> str:
    return self._text().decode(ids)

  def _encode_tf(self, s: tf.Tensor) -> tf.Tensor | tf.RaggedTensor:
    encoded = self._operations().encode(tf.reshape(s, [-1]))
    return encoded.values if s.shape.rank == 0 else encoded

  def _decode_tf(self, ids: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    if isinstance(ids, tf.RaggedTensor):
      return self._operations().text.decode(ids)
    rectangle = tf.expand_dims(ids, 0) if ids.shape.rank == 1 else ids
    rows = tf.RaggedTensor.from_tensor(rectangle)  # pyright: ignore[reportAttributeAccessIssue] - missing in the stubs
    texts = self._operations().text.decode(rows)
    return texts[0] if ids.shape.rank == 1 else texts

  def __eq__(self, other: object) -> bool:
    return isinstance(other, LazyVocabulary) and self._find_file == other._find_file

  def __hash__(self) -> int:
    return hash(self._find_file)


@functools.lru_cache(maxsize=4)
def _opened(path: str, changed: int) -> PythonText:
  """A vocabulary, read again only when the file has changed."""
  return PythonText(open_table(path))


def first_sentinel(vocabulary: seqio.Vocabulary) -> int:
  """The id of `<extra_id_0>`, from which span corruption counts down.

  Args:
    vocabulary: of a task; one that is not of this module has the sentinels as its last ids, as seqio does
  Raises:
    UserError: it has no sentinels
  """
  chosen = vocabulary.vocabulary if isinstance(vocabulary, ChosenVocabulary) else vocabulary
  return chosen.first_sentinel if isinstance(chosen, LazyVocabulary) else chosen.vocab_size - 1


@gin.configurable(module='vocabularies')  # pyright: ignore[reportCallIssue] - gin has no types
def demo_vocabulary_file(path: str = '') -> str:
  """Where the vocabulary of the zoo_demo tasks is: gin's `demo_vocabulary_file.path`, else SWITCH_ZOO_DEMO_VOCAB.

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
  if not os.path.exists(path):
    raise UserError(f'There is no vocabulary "{path}" ({os.path.abspath(path)}) for the zoo_demo tasks. {remedy}')
  return path


@gin.configurable(module='vocabularies')  # pyright: ignore[reportCallIssue] - gin has no types
def vocabulary_file(path: str = '') -> str:
  """Where the vocabulary of the tasks is: gin's `vocabulary_file.path`, else SWITCH_ZOO_VOCAB, else T5's bucket.

  Returns:
    the path of a sentencepiece model or a tokenizer.json, or 'bytes'
  Raises:
    UserError: there is no such file, or the bucket cannot be reached
  """
  path = path or os.environ.get(VARIABLE, '') or f'{_BUCKET}/cc_all.32000.100extra/sentencepiece.model'
  return path if path == BYTES else _present(path, VARIABLE, 'vocabulary_file.path')


@gin.configurable(module='vocabularies')  # pyright: ignore[reportCallIssue] - gin has no types
def mt5_vocabulary_file(path: str = '') -> str:
  """Where mT5's vocabulary is: gin's `mt5_vocabulary_file.path`, else SWITCH_ZOO_MT5_VOCAB, else T5's bucket.

  Returns and raises the same as `vocabulary_file`.
  """
  path = path or os.environ.get(MT5_VARIABLE, '') or f'{_BUCKET}/mc4.250000.100extra/sentencepiece.model'
  return path if path == BYTES else _present(path, MT5_VARIABLE, 'mt5_vocabulary_file.path')


@gin.configurable(module='vocabularies')  # pyright: ignore[reportCallIssue] - gin has no types
def target_vocabulary_file(path: str = '') -> str:
  """Where that of translations is: `target_vocabulary_file.path`, else SWITCH_ZOO_TARGET_VOCAB, else that of sources.

  Returns and raises the same as `vocabulary_file`.
  """
  path = path or os.environ.get(TARGET_VARIABLE, '')
  if not path:
    return vocabulary_file()
  return path if path == BYTES else _present(path, TARGET_VARIABLE, 'target_vocabulary_file.path')


def _present(path: str, variable: str, parameter: str) -> str:
  remedy = (
    f'Set {variable}=FILE, or --gin_param="{parameter} = \'FILE\'": a sentencepiece model (spiece.model of a '
    "Hugging Face T5, DIR/vocabulary.model of `switch_zoo demo`), or the word 'bytes'."
  )
  if path.startswith('gs://'):
    if not _storage_answers():
      raise UserError(f'The vocabulary {path} cannot be read: storage.googleapis.com does not answer. {remedy}')
  elif not os.path.exists(path):
    raise UserError(f'There is no vocabulary "{path}" ({os.path.abspath(path)}). {remedy}')
  return path


@functools.lru_cache(maxsize=1)
def _storage_answers() -> bool:
  """Whether Google's storage can be reached; it takes seconds, while TensorFlow itself tries for minutes."""
  answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

  def ask() -> None:
    try:
      urllib.request.urlopen('https://storage.googleapis.com', timeout=_PATIENCE).close()
      answers.put(True)
    except urllib.error.HTTPError:
      answers.put(True)  # it refuses an empty request, so it can be reached
    except OSError:
      answers.put(False)

  threading.Thread(target=ask, daemon=True).start()  # looking up the name alone may exceed the timeout
  try:
    return answers.get(timeout=_PATIENCE + 1)
  except queue.Empty:
    return False


class ChosenVocabulary(seqio.Vocabulary):
  """The vocabulary that a function names when it is used: that of a file, or 'bytes'."""

  def __init__(self, find_file: Callable[[], str]) -> None:
    """Opens nothing.

    Args:
      find_file: returns the path of an existing file, or 'bytes'; or raises UserError
    """
    self._find_file = find_file
    self._pieces = LazyVocabulary(find_file)
    super().__init__(extra_ids=0)

  @property
  def path(self) -> str:
    """The path of the file chosen now, or 'bytes'."""
    return self._find_file()

  @property
  def vocabulary(self) -> seqio.Vocabulary:
    """The vocabulary chosen now; 3 special ids, 256 bytes and 100 sentinels for 'bytes'."""
    return _BYTE_VOCABULARY if self._find_file() == BYTES else self._pieces

  @property
  def bos_id(self) -> int | None:
    """Id of the beginning of a sequence; none in T5."""
    return self.vocabulary.bos_id

  @property
  def eos_id(self) -> int | None:
    """Id of the end of a sequence."""
    return self.vocabulary.eos_id

  @property
  def unk_id(self) -> int | None:
    """Id of unknown text."""
    return self.vocabulary.unk_id

  @property
  def vocab_size(self) -> int:
    """Number of ids, sentinels included."""
    return self.vocabulary.vocab_size

  @property
  def _base_vocab_size(self) -> int:
    return self.vocabulary.vocab_size

  def _encode(self, s: str) -> Sequence[int]:
    return self.vocabulary.encode(s)

  def _decode(self, ids: Sequence[int]) -> str:
    return self.vocabulary.decode(ids)

  def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
    return self.vocabulary.encode_tf(s)

  def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
    return self.vocabulary.decode_tf(ids)

  def __eq__(self, other: object) -> bool:
    return isinstance(other, ChosenVocabulary) and self._find_file == other._find_file

  def __hash__(self) -> int:
    return hash(self._find_file)


_BYTE_VOCABULARY = seqio.ByteVocabulary(extra_ids=NUM_SENTINELS)
DEFAULT = ChosenVocabulary(vocabulary_file)
MT5 = ChosenVocabulary(mt5_vocabulary_file)
TARGET = ChosenVocabulary(target_vocabulary_file)


def train(texts: Iterable[str], path: pathlib.Path, num_pieces: int) -> None:
  """Trains a unigram sentencepiece model with T5's special ids; the same texts give the same bytes.

  Args:
    texts: one paragraph each
    path: where the model is written, completely or not at all
    num_pieces: pieces, special ones included; the sentinels are added when it is opened
  """
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.Train(
    sentence_iterator=iter(texts),
    model_writer=model,
    model_type='unigram',
    vocab_size=num_pieces,
    pad_id=PADDING,
    eos_id=END,
    unk_id=UNKNOWN,
    bos_id=-1,
    character_coverage=0.9995,
    max_sentence_length=1 << 16,
    num_threads=1,  # sums over threads would depend on their order
    minloglevel=2,
  )
  partial = path.with_name(path.name + '.partial')
  partial.write_bytes(model.getvalue())
  partial.replace(path)
