"""The planner: what a layout costs before a TPU is paid for. No TensorFlow, and nothing is built or run.

  tensors        graphs without values: the operations of Mesh-TensorFlow and their gradients
  hardware       chips and slices
  slicing        how a layout cuts tensors
  sizes          what a batch and a layout make of a step's sizes, and placeholders for that
  attention      attention sublayers as such graphs
  feed_forward   dense and sparse feed-forward sublayers
  optimizer      Adafactor
  step           a whole training step
  lowering       what one core computes and sends under a layout, as Mesh-TensorFlow lowers it
  lives          which tensors are in memory, and how long
  memory         what one core holds
  cost           the time of a step, one function for each physical effect
  search         every layout of a model on a slice, the best first
  gin_lines      a layout as gin
  hints          what a layout wastes, and what makes a model fit
  load           tokens that are spread unevenly over experts
  ready          the layouts that gin/layouts has for a model and a slice

Each file imports only files above it.
"""
