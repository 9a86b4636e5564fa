# SPDX-License-Identifier: Apache-2.0
"""What doors share: a file's nodes as rules in words, run in a program or in stages.

A door makes a Plan of entries, each with its rule, and gives it to Imported, which is an nn.Module.
Rules are written in words (words.py), which mean the same on known arrays and on symbolic tensors.
"""
