# SPDX-License-Identifier: Apache-2.0
"""The graph: types, values, nodes. Knows no op and no memory."""
