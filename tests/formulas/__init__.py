# SPDX-License-Identifier: Apache-2.0
"""What every public function means: formulas in NumPy's float64, and calls to try them with."""
