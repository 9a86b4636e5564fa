# SPDX-License-Identifier: Apache-2.0
"""The ops: one frozen dataclass each, and the composites made of them. Imports ir only."""
