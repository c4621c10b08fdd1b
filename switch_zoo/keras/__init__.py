"""The same models as `tf.keras`, with the same weights: fine-tuning on one host, generation, export.

Imports neither mesh_tensorflow nor t5 nor seqio.
"""

from switch_zoo.keras.loading import load
from switch_zoo.keras.loss import CrossEntropy
from switch_zoo.keras.model import SwitchTransformer

__all__ = ['CrossEntropy', 'SwitchTransformer', 'load']
