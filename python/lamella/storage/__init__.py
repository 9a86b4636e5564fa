# SPDX-License-Identifier: Apache-2.0
"""Files: weights (safetensors, npz, PyTorch's zip files) and checkpoints of training.

Knows arrays and bytes, nothing of networks. Readers believe nothing that a file says before it is
checked, execute nothing, and keep to the memory law of `source.py`; writers replace a file as a
whole or not at all (`durable.py`).
"""
