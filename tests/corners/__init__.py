# SPDX-License-Identifier: Apache-2.0
"""ONNX operators at their corners: generators of random cases, two oracles, and a verdict.

draw.py draws cases out of an operator's schema; the families say what an operator's operands and
attributes look like; oracles.py runs a case in ONNX Runtime, in onnx's ReferenceEvaluator and here;
judge.py compares; kinds.py decides where the oracles differ and names what is refused; run.py is
`make corners`. tests/onnx/test_corners.py takes a sample.
"""
