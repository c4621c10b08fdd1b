"""A step of a model as the program of one core: what every core of a slice runs, as XLA's HloModuleProto.

Mesh-TensorFlow's TPU implementation already lowers a graph to the operations of one core, with collectives between the
cores. Here its variables become arguments and results of a program, and the collectives become those of HLO, so that
libtpu compiles it without a TPU and any PJRT client runs it: CPU, GPU, TPU.

  program       OneCoreProgram: the module, and what its arguments and results are
  protos        XLA's protocol buffers
  collectives   custom calls in the TensorFlow graph that become HLO's collectives
  noise         random numbers from seed, step, operation and part of the tensor
  mesh_impl     OneCoreMeshImpl: SimdMeshImpl with arguments for variables
  named_errors  what cannot be lowered, by its name
  steps         a training step, an evaluation, decoding and scoring as Mesh-TensorFlow graphs
  hlo           a TensorFlow graph as an HloModuleProto
  lowering      the four steps, lowered: start here
  core_order    which physical core runs which part of the mesh
  traffic       the collectives of a compiled program

Each file imports only files above it.
"""
