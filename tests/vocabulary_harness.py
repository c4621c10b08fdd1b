"""Small vocabularies, trained in a moment, and both ways to read a text with one."""

import io

import sentencepiece
import tensorflow as tf

from switch_zoo.vocabulary.opening import open_table
from switch_zoo.vocabulary.python_text import PythonText
from switch_zoo.vocabulary.tensor_text import TensorText

TEXTS = [
  'the cat sat on the mat',
  'the dog sat on the log, (a) "b"',
  'that hat is on that cat and a dog and a log',
  '日本語の文字を読む',
  'naïve café fine',
  '😀 emoji and more 123,456',
] * 20
T5_IDS = {'pad_id': 0, 'eos_id': 1, 'unk_id': 2, 'bos_id': -1}


def train(folder, num_pieces=90, ids=None, **settings):
  """Writes folder/spiece.model and returns its path."""
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.Train(
    sentence_iterator=iter(TEXTS),
    model_writer=model,
    model_type=settings.pop('model_type', 'unigram'),
    vocab_size=num_pieces,
    hard_vocab_limit=False,
    num_threads=1,
    minloglevel=2,
    **(T5_IDS if ids is None else ids),
    **settings,
  )
  folder.mkdir(exist_ok=True)
  path = folder / 'spiece.model'
  path.write_bytes(model.getvalue())
  return path


class Reader:
  """A vocabulary in Python and in TensorFlow, which must agree."""

  def __init__(self, path):
    self.table = open_table(str(path))
    self._python, self.tensors = PythonText(self.table), TensorText(self.table)

  def ids(self, *texts):
    """Ids of each text."""
    ids = self.tensors.encode(tf.constant(list(texts))).to_list()
    assert ids == [self._python.encode(text) for text in texts]
    return ids

  def text(self, ids):
    """The text of ids."""
    text = self.tensors.decode(tf.ragged.constant([ids], dtype=tf.int32)).numpy()[0].decode()
    assert text == self._python.decode(ids)
    return text
