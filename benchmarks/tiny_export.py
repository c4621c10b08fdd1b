"""An export with the signatures of `switch_zoo export` and almost no weights, made in a second.

  python benchmarks/tiny_export.py FOLDER

Answers are the inputs in upper case, scores minus their lengths in bytes. Each call computes small matrix products one
after the other, as decoding does: one text takes nearly as long as 32. The text `slow` takes long, and the text
`refuse` is refused.
"""

import sys

DECODING = 32 * 12  # matrix products: 32 tokens of 12 layers
SLOW = 80_000
WIDTH = 256


def write(folder: str, products: int = DECODING) -> None:
  """Writes FOLDER/1/."""
  import tensorflow as tf

  class Tiny(tf.Module):
    """The two functions of an export."""

    def __init__(self):
      super().__init__()
      self.weight = tf.Variable(tf.eye(WIDTH) / 2)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, 'inputs')])
    def answer(self, inputs):
      """Upper case, and minus the length."""
      allowed = tf.debugging.Assert(tf.reduce_all(inputs != 'refuse'), ['a text is: refuse'])
      with tf.control_dependencies([allowed]):
        count = tf.where(tf.reduce_any(inputs == 'slow'), SLOW, products)
      zeros = self._decode(tf.shape(inputs)[0], count)
      return {'outputs': tf.strings.upper(inputs, 'utf-8'), 'scores': zeros - self._length(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name) for name in ('inputs', 'targets')])
    def score(self, inputs, targets):
      """Minus a tenth of the target's length."""
      return {'scores': tf.zeros(tf.shape(inputs)) - self._length(targets) / 10}

    def _length(self, texts):
      return tf.cast(tf.strings.length(texts), tf.float32)

    def _decode(self, batch, count):
      state = tf.ones([batch, WIDTH])
      _, state = tf.while_loop(
          lambda i, x: i < count, lambda i, x: (i + 1, tf.matmul(x, self.weight)), [0, state],
          shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, WIDTH])])  # fmt: skip
      return tf.minimum(state[:, 0], 0.0)

  tiny = Tiny()
  tf.saved_model.save(tiny, f'{folder}/1', {'serving_default': tiny.answer, 'score': tiny.score})


if __name__ == '__main__':
  write(sys.argv[1])
