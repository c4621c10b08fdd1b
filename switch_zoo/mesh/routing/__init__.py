"""Who goes where: routers, and the small pieces they are made of.

Letters, used everywhere in this package, in `dispatch`, `experts` and `attention`, and the Mesh-TensorFlow dimension
each stands for. They are the released names, so released layouts apply:

  O outer_batch      copies of the experts         E experts (expert_unsplit while tokens are cut over the mesh)
  G batch            groups of tokens              C expert_capacity   slots an expert offers to one group
  S group            tokens of one group           H expert_hidden
  M d_model          (d_model_split on the way)    K choices of one token, a Python list

[O, G, S, E] is a shape; <float32> before it is the dtype. "Real" tokens are those that are not padding.

  gates     what the router reads, its logits and probabilities, noise in training
  slots     places in the experts' queues
  capacity  how many slots, how large a group; plain integers
  record    the routing record every router returns
  losses    balance, z, importance, load; free functions of tensors
  metrics   load, dropped, entropy, mean gate
  rows      rows moved by index: what the gather dispatch is made of
  routers, expert_choice, noisy   the routers, which only compose the pieces
"""
