# SPDX-License-Identifier: Apache-2.0
"""Tables of cases, one file per family of ops: inputs, domains, tolerances. No assertions."""
