"""Whether a vocabulary is that of a model: one rule for training, answers and exports."""

from switch_zoo.errors import UserError
from switch_zoo.spec.sublayers import VOCAB_DIVISOR, padded_vocabulary


def check(vocabulary: str, size: int, num_ids: int, remedy: str, macro: str = 'vocab_size') -> None:
  """Refuses a vocabulary that a model was not made for.

  Args:
    vocabulary: what it is, as the user knows it
    size: number of its ids
    num_ids: of the model; where that is not known, the rows of its embeddings
    remedy: what to do, in a sentence
    macro: that has `num_ids`
  Raises:
    UserError: the model has fewer ids, or padded as Mesh-TensorFlow pads them, the two differ
  """
  padded = padded_vocabulary(size)
  if size > num_ids or padded != padded_vocabulary(num_ids):
    raise UserError(
      f'{vocabulary} has {size:,} entries, {padded:,} when padded to a multiple of {VOCAB_DIVISOR}; the model has '
      f'{macro} = {num_ids:,}. {remedy}'
    )
