"""The cross-entropy of a student's predictions with the probabilities of its teacher.

With the student's logits s, the teacher's t and the temperature T, a token has

  T^2 * -sum_v softmax(t / T)_v * log(softmax(s / T)_v)  =  T^2 * (log_z(s / T) - sum_v softmax(t / T)_v * s_v / T)

The square keeps the size of its gradient, which the temperature divides by T^2.

Source: arXiv:1503.02531, section 2.
"""

from typing import NamedTuple

import mesh_tensorflow as mtf
from mesh_tensorflow.transformer import transformer

from switch_zoo.mesh import label_logits, loss, stacks
from switch_zoo.mesh.loss import LossTerms


class SoftLabels(NamedTuple):
  """<float32>[batch..., length], natural logarithm.

  of_student: cross-entropy with the teacher's probabilities, times the square of the temperature
  of_teacher: cross-entropy of the labels with the teacher's predictions, at temperature 1; without gradient
  """

  of_student: mtf.Tensor
  of_teacher: mtf.Tensor


def cross_entropies(
  model: transformer.Unitransformer,
  student: LossTerms,
  teacher: mtf.Tensor,
  labels: mtf.Tensor,
  vocab_dim: mtf.Dimension,
  temperature: float = 1.0,
) -> SoftLabels:
  """Both cross-entropies of each token.

  Args:
    model: the student's decoder
    student: the terms of its loss
    teacher: <float32>[batch..., length, vocab] logits of the teacher, without gradient
    labels: <int32>[batch..., length]
    vocab_dim: the last dimension of logits
    temperature: above 0
  """
  of_teacher, likelihood = _teacher(model, teacher, labels, vocab_dim, temperature)
  if temperature == 1.0:
    logits, log_z = student.logits, student.log_z
  else:
    logits = student.logits * (1.0 / temperature)
    log_z, _ = loss.log_z_and_logit(model, logits, labels, vocab_dim)
  expected = mtf.reduce_sum(likelihood * logits, reduced_dim=vocab_dim)
  return SoftLabels((log_z - expected) * temperature**2, of_teacher)


def _teacher(
  model: transformer.Unitransformer,
  logits: mtf.Tensor,
  labels: mtf.Tensor,
  vocab_dim: mtf.Dimension,
  temperature: float,
) -> tuple[mtf.Tensor, mtf.Tensor]:
  """Cross-entropy of the labels, <float32>[..., length]; probabilities at the temperature, <float32>[..., vocab]."""
  if stacks.on_one_slice(model) and logits.shape.dims == [*labels.shape.dims, vocab_dim]:
    log_z, logit, likelihood = label_logits.with_likelihood(logits, labels, vocab_dim)
  else:
    log_z, logit = loss.log_z_and_logit(model, logits, labels, vocab_dim)
    likelihood = None
  if likelihood is None or temperature != 1.0:
    likelihood = mtf.softmax(logits * (1.0 / temperature), vocab_dim)
  return log_z - logit, mtf.stop_gradient(likelihood)
