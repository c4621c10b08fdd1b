"""The models on Mesh-TensorFlow: layers with experts, their loss, and the graphs that training builds of them.

In the order in which a training batch meets them:

  stacks     calls the sublayers of a block one after another, each in its own variable scope
  attention  SwitchSelfAttention: self-attention whose queries and keys experts make
  experts    SwitchFeedForward: feed-forward networks as experts
  exchange   what both layers share: cuts tokens into groups, routes them, carries them across the mesh and back
  dispatch   how tokens reach the slots of experts: products with masks, or rows moved by index
  routing    which token goes to which expert; a package with a map of its own
  loss       cross-entropy of the targets
  label_logits  what the cross-entropy is made of, in few passes over the logits
  teaching   the teacher of a distillation: its checkpoint, its model, how it teaches
  distillation  a student, and its teacher in the same graph
  soft_labels   the cross-entropy with a teacher's probabilities
  vocabulary ids that only pad the vocabulary's table are never predicted; the end of a sequence is 1
  observe    how losses and metrics leave the graph: layers export tensors by name
  summaries  what was exported, as a summary for TensorBoard

  graph      builds a whole training step of a model file, without running it
  gin_setup  configures gin for a run, and explains its errors

Nothing is imported here: gin files import the modules they need.
"""
