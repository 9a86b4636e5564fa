# SPDX-License-Identifier: Apache-2.0
"""What is measured (`tasks`), how each library does it (`rivals`), and who is faster (`run.py`)."""
