# SPDX-License-Identifier: GPL-2.0-only
"""Faults planted in changed lines: which there are, and how all of a file fit into one kernel.

Everything here is a function from text to text: no file is read, and nothing is built.
"""
