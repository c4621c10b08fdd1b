"""Installs switch_zoo: the package, the tasks (as switch_zoo.tasks) and the gin files (as switch_zoo.configs).

There are two stacks: TensorFlow 2.15 below CPython 3.12, TensorFlow 2.21 from there on (README.md, "Versions"). Many
upper bounds repeat what a dependency requires of another one. pip cannot know that in advance: it would download
release after release, newest first, until one fits. benchmarks/downloads.py fails when that happens. Each bound names
the first release that does not fit, and can go with the requirement that is given as its reason.
"""

import pathlib

import setuptools

REQUIREMENTS = {
  # Both stacks.
  'python_version >= "3.10"': [
    'mesh-tensorflow==0.1.21',
    't5==0.9.4',
    'gin-config==0.5.0',
    'tensorflow-estimator==2.15.0',  # the last release; Mesh-TensorFlow trains with its TPUEstimator
    'seqio-nightly>=0.0.18.dev20250227',
    'tfds-nightly==4.9.2.dev202308090034',  # seqio-nightly requires this release; goes with its next one
    # mesh-tensorflow requires it; it installs the same folder as tfds-nightly, so it must be the closest release.
    'tensorflow-datasets==4.9.3',
    'setuptools<81',  # t5 and mesh-tensorflow import pkg_resources, which setuptools 81 removed
    'babel>=2.9',  # names of languages
    'scikit-learn>=1.0',  # F1 and its relatives
    'typer>=0.12',
    'rich>=13',
    'matplotlib>=3.7',
    'starlette>=0.40',  # switch_zoo serve
    'uvicorn>=0.30,<1',  # the same; switch_zoo subclasses its h11 protocol
    'h11>=0.14',
  ],
  # TensorFlow 2.15. All of these can go together with support for CPython 3.11.
  'python_version < "3.12"': [
    'tensorflow==2.15.1',  # the last release with Estimator in it
    'tensorflow-text==2.15.0',  # compiled against tensorflow 2.15
    'h5py>=3.8',  # Keras' files of weights
    'sentencepiece<0.2.1',  # 0.2.1 bundles a protobuf that clashes with tensorflow's in one process
    'tf_keras<2.16',  # 2.16 requires tensorflow 2.16; tensorflow-hub, which tensorflow-text requires, accepts any
    # tensorflow 2.15 requires numpy below 2.
    'numpy>=1.26,<2',
    'pandas<3.1',  # t5 requires it; 3.1 requires numpy 2
    # tensorflow 2.15 requires protobuf below 5; 1.75.1 requires 6.
    'googleapis-common-protos<1.75.1',
    # tensorflow 2.15 requires ml_dtypes 0.3.
    'ml_dtypes>=0.3.1,<0.4',  # bfloat16 for NumPy
    'tensorstore<0.1.75',  # T5X checkpoints; 0.1.75 requires ml_dtypes 0.5
    # jax 0.4.35 requires ml_dtypes 0.4, and the first excluded releases of the others a later jax. seqio-nightly
    # requires all of these by way of clu; nothing here runs JAX.
    'jax<0.4.35',
    'jaxlib<0.4.35',
    'flax<0.10.5',
    'optax<0.2.6',
    'chex<0.1.91',
    'orbax-checkpoint<0.11.6',
  ],
  'python_version == "3.11"': ['tensorflow-metadata<1.16'],  # the last release that is tested with tensorflow 2.15
  # On CPython 3.10, 1.14 requires protobuf below 4.21, and googleapis-common-protos 4.25 or later. 1.13, which does
  # not, requires absl-py below 2.
  # The first excluded releases of the others require CPython 3.11, which not every index says.
  'python_version < "3.11"': ['tensorflow-metadata<1.14', 'absl-py<2', 'markdown<3.11', 'etils<1.14'],
  # TensorFlow 2.21.
  'python_version >= "3.12"': [
    # Estimator and Mesh-TensorFlow use private names of tensorflow, which 2.22 may move. Raise this bound when the
    # tests pass with 2.22.
    'tensorflow>=2.21,<2.22',
    'tensorflow-text>=2.21,<2.22',  # compiled against tensorflow 2.21
    'h5py>=3.11,<3.15',  # Keras' files of weights; tensorflow 2.21 requires h5py below 3.15
    'sentencepiece>=0.2.1',  # the first with wheels for CPython 3.13
    'numpy>=2',
    'ml_dtypes>=0.5',  # bfloat16 for NumPy
    'tensorstore',  # T5X checkpoints
  ],
}

TEST_REQUIREMENTS = [
  'pytest>=8',
  'pytest-xdist>=3.6',  # the suite on two cores
  'hypothesis>=6',
  'ruff>=0.6',
  'httpx>=0.27',  # the clients of the tests of switch_zoo serve
  'safetensors>=0.8',  # the oracle for files of Hugging Face; switch_zoo reads and writes them itself
  # The oracle for parity tests, on the older stack only; an open range pulls several GB of CUDA.
  'torch==2.13.0; python_version < "3.12"',
  'pyright>=1.1.400',
  'transformers>=5.23; python_version >= "3.11"',  # the first whose Switch router is right; it needs 3.11
]

# The TPU's compiler, for switch_zoo compile; switch_zoo/tpu/compiler.py names the same release.
TPU_REQUIREMENTS = ['libtpu==0.0.42.1']

# `switch_zoo export --to onnx`, and running what it writes.
ONNX_REQUIREMENTS = [
  'onnx>=1.16,<1.19; python_version < "3.12"',  # 1.19 requires ml_dtypes 0.5
  'onnx>=1.19; python_version >= "3.12"',
  'onnxruntime>=1.20',
]

setuptools.setup(
  name='switch-zoo',
  version='0.1.0',
  description='Switch Transformers and their relatives, from a laptop demo to 1.6 trillion parameters',
  long_description=pathlib.Path('README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.10,<3.14',
  # switch_zoo/tasks and switch_zoo/configs are links to tasks/ and gin/. The folders of gin files have no __init__.py.
  packages=setuptools.find_namespace_packages(include=['switch_zoo', 'switch_zoo.*'], exclude=['*.__pycache__*']),
  package_data={'switch_zoo.configs': ['**/*.gin']},
  install_requires=[f'{name}; {marker}' for marker, names in REQUIREMENTS.items() for name in names],
  extras_require={'test': TEST_REQUIREMENTS, 'onnx': ONNX_REQUIREMENTS, 'tpu': TPU_REQUIREMENTS},
  entry_points={
    'console_scripts': [
      'switch_zoo = switch_zoo.cli:main',
      't5_mesh_transformer = switch_zoo.t5_mesh_transformer:console_entry_point',
    ]
  },
)
