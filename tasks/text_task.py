"""A task whose examples are texts: tokenized once in a pass, cut before they are shuffled, shuffled within a pass.

seqio repeats a dataset before it tokenizes and shuffles it, so a file of ten rows is tokenized a thousand times before
the first step, to fill the buffer of the shuffle. What it gives, row by row, is the same.
"""

import functools
from collections.abc import Mapping
from typing import Any

import seqio
import tensorflow as tf

from switch_zoo.tasks.cut_texts import CutTexts
from switch_zoo.tasks.sources import FileSource

_KEPT_BYTES = 64 << 20  # files up to this size are read and tokenized once, and kept as ids
_KEPT_EXAMPLES = 10_000  # the same of other sources, as in seqio


class TextTask(seqio.Task):
  """A task whose only preprocessors are seqio's `tokenize` and `append_eos_after_trim`."""

  def get_dataset(
    self,
    sequence_length: Mapping[str, int] | None = None,
    split: str = 'train',
    use_cached: bool = False,
    shuffle: bool = True,
    shuffle_buffer_size: int | None = None,
    seed: int | None = None,
    shard_info: seqio.ShardInfo | None = None,
    num_epochs: int | None = 1,
    **options: Any,
  ) -> tf.data.Dataset:
    """The examples as ids; arguments as in seqio, which still reads cached tasks and shards.

    Returns:
      `inputs` and `targets`, <int32>[any]; in a single pass also all other fields of the source
    Raises:
      UserError: files are missing (now), or a row is malformed (when it is read)
    """
    if use_cached or shard_info or not sequence_length:
      more = {'shuffle_buffer_size': shuffle_buffer_size, 'seed': seed, 'shard_info': shard_info, **options}
      return super().get_dataset(
        sequence_length, split=split, use_cached=use_cached, shuffle=shuffle, num_epochs=num_epochs, **more
      )
    ids = self._ids(sequence_length, split, shuffle, seed)
    if num_epochs != 1:
      # Texts and answers, of which training needs none, would fill the memory of the shuffle.
      fields: Any = ids.element_spec
      keys = [key for key in self.output_features if key in fields]
      kept = tf.autograph.experimental.do_not_convert(lambda row: {key: row[key] for key in keys})
      ids = ids.map(kept, num_parallel_calls=tf.data.AUTOTUNE)
      ids = ids.cache() if self._is_small(split) else ids
    if shuffle:
      ids = ids.shuffle(shuffle_buffer_size or self.shuffle_buffer_size or 1, seed=seed)
    return ids.repeat(num_epochs).prefetch(tf.data.AUTOTUNE)

  def _ids(self, lengths: Mapping[str, int], split: str, shuffle: bool, seed: int | None) -> tf.data.Dataset:
    cut_texts = self._cut_texts(split, tuple(sorted(lengths.items())))
    rows = self.source.get_dataset(split=split, shuffle=shuffle, seed=seed)
    return self._validate_preprocessing(cut_texts.tokenized(rows, self.output_features))

  @functools.lru_cache  # noqa: B019 - tasks live as long as the process
  def _cut_texts(self, split: str, lengths: tuple[tuple[str, int], ...]) -> CutTexts:
    return CutTexts(f'{self.name}, {split}', dict(lengths))

  def _is_small(self, split: str) -> bool:
    if isinstance(self.source, FileSource):
      size = self.source.num_bytes(split)
      return size is not None and size <= _KEPT_BYTES
    count = self.source.num_input_examples(split)
    return count is not None and count <= _KEPT_EXAMPLES
